# SPDX-License-Identifier: GPL-2.0-or-later
# Thousands of clients at once: what the bench and the network test of it share. Sourced after
# lib.sh, between net_begin and the end; the clients are those of `lab load`.

crowd_interval=1000 # ms between two pings of one client

# balanced: every member has about its share of the work units, and none is on its way.
balanced()
{
	local member
	for member in $lab_members; do
		ask "$member" status | jq -e '[.members[] | select(.present) | .units] as $u |
			.units.moving == 0 and .units.without_owner == 0 and
			.units.without_successor == 0 and ($u | min) * 3 > ($u | max) * 2' ||
			return 1
	done
}

# crowd_sas: "NAME IKE-SPI IKE-SPI ESP-SPI ESP-SPI ADDRESS" for each client, as they see it.
crowd_sas()
{
	lab exec l1 swanctl --list-sas --raw | sed -nE \
		's/^list-sa event \{(c[0-9]+) \{.* initiator-spi=([0-9a-f]+) responder-spi=([0-9a-f]+) .* local-vips=\[([0-9.]+)\].*( |\{)spi-in=([0-9a-f]+) spi-out=([0-9a-f]+) .*/\1 \2 \3 \6 \7 \4/p' |
		sort
}

# crowd_of MEMBER VIEWER: the virtual addresses of the clients that it works for.
crowd_of()
{
	ask "$2" sessions --member "$1" --user '*@load.example.org' |
		jq -r '.sessions[].virtual_address' | sed 's/ .*//; s/\/.*//' | sort
}

# crowd_pings_start FILE: the addresses in it ping the server.
crowd_pings_start()
{
	rm -f "$out/crowd.status"
	: >"$out/crowd.events"
	program_start l1 crowd-ping crowd ping "$S1" "$1" -i "$crowd_interval" \
		-o "$out/crowd.json" -s "$out/crowd.status" --events "$out/crowd.events"
}

# crowd_answered EVENT: all have been answered since that event ("-": at all).
crowd_answered()
{
	local answered total event
	read -r answered total event 2>/dev/null <"$out/crowd.status" || return 1
	[[ $event == "$1" ]] && ((answered == total))
}

crowd_answered_now() { cut -d' ' -f1 "$out/crowd.status"; }

# crowd_answers: "NAME N" for each client: how many INFORMATIONAL exchanges that it has begun
# were answered. A client asks when it has heard nothing for a while.
crowd_answers()
{
	lab exec l1 timeout 20 crowd answers /run/charon.vici c \
		"$(wc -l <"$out/crowd.before")" | sort
}
