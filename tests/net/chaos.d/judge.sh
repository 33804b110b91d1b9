# SPDX-License-Identifier: GPL-2.0-or-later
# What runs meanwhile, and whether it was all right. Sourced.

splits=() # espcheck's options: when the cluster was in parts
unproven_seen=0 unproven=0
declare -A first_established=() first_children=() transferred_then=()

# chaos_begin: captures, and clients' traffic: downloads by all but the last two, who upload,
# and pings by all but the first of these.
chaos_begin()
{
	local client
	for client in $lab_clients; do
		scenario_prints[$client]=$(identity "$client")
		first_established[$client]=$(established "$client")
		first_children[$client]=$(children "$client")
	done
	captures_begin
	lab capture s1:eth0 "$out/inside.pcap"
	began=$(now_ms)
	uploader=$(xargs -n 1 <<<"$lab_clients" | tail -n 2 | head -n 1)
	serve_start
	pings_start "$tag"
	transfers_start
	must 10 "the transfers to begin" downloads_begun
}

transfers_start()
{
	local client verb=get left
	left=$(wc -w <<<"$lab_clients")
	for client in $lab_clients; do
		((left-- > 2)) || verb=put
		program_start "$(speaker "$client")" "get-$tag-$client" traffic "$verb" "$S1" \
			"$traffic_port" 1000000000 --rate 40000 --idle 120 \
			-o "$out/get-$tag-$client.json" --events "$out/$tag.events"
	done
}

# sa_fields CLIENT REGEXP: of the raw list of its SAs.
sa_fields()
{
	lab exec "$1" swanctl --list-sas --raw --ike home | grep -o "$2" | xargs
}

# identity CLIENT: what must stay: the IKE SA's SPIs, and the virtual address.
identity() { sa_fields "$1" '[a-z]*-spi=[0-9a-f]*\|local-vips=\[[0-9.]*\]'; }

# children CLIENT: the SPIs of its ESP. They stay as well, unless an unproven takeover
# has rekeyed them.
children() { sa_fields "$1" 'spi-\(in\|out\)=[0-9a-f]*'; }

# established CLIENT: seconds.
established()
{
	sa_fields "$1" ' established=[0-9]*' | cut -d= -f2
}

# Takeovers by members that may be behind. One failure at a time brings none, but in a part
# of a cut cluster that has neither the owner nor the successor of a unit, or where this
# machine was too slow for the detection interval.
unproven_note()
{
	local sum
	sum=$(statuses --counters | jq -s '[.[].counters."cluster.unproven"] | add') || return 0
	if ((sum > unproven_seen)); then
		note "   $((sum - unproven_seen)) unproven takeovers"
		unproven=$((unproven + sum - unproven_seen))
	fi
	# A daemon that has begun anew counts from zero.
	unproven_seen=$sum
}

chaos_end()
{
	local lasted
	must 60 "all members to work again" whole m1
	must 20 "all clients to reach the server in the end" all_reach
	lasted=$((($(now_ms) - began) / 1000))
	transfers_judge
	identity_judge "$lasted"
	windows_pass
	{
		captures_stop
		lab capture s1:eth0 stop
	} 2>"$out/lost"
	# What was not captured is not proven, but no fault of the cluster's.
	[[ ! -s $out/lost ]] || note "$(cat "$out/lost")"
	sealed_judge "${splits[@]}"
	inside_judge "$out/inside.pcap" "${splits[@]}"
	replay_judge "$(pcap outside)"
	crash_judge
	pauses_table
	scenario_verdict "$number faults in $lasted s, seed $seed"
	((${#reasons[@]} == 0)) || statuses >"$out/statuses.json" || true
}

# Every transfer was right and went on to the end, though it may have waited; every client
# had answers to its pings.
transfers_judge()
{
	local client
	for client in $lab_clients; do transferred_then[$client]=$(transferred "$client"); done
	must 60 "all transfers to go on" transfers_moved
	for client in $lab_clients; do
		program_stop "get-$tag-$client" ||
			fail "$client's transfer: $(xargs <"$out/get-$tag-$client.log")"
	done
	pings_stop "$tag" || fail "pings without any answer"
	program_stop serve || true
}

transfers_moved()
{
	local client
	for client in $lab_clients; do
		(($(transferred "$client") > transferred_then[$client])) || return 1
	done
}

# Nobody connected again.
identity_judge()
{
	local client now
	for client in $lab_clients; do
		now=$(identity "$client" || true)
		[[ -n $now && $now == "${scenario_prints[$client]}" ]] || fail \
			"$client has another session (was ${scenario_prints[$client]}, is ${now:-none})"
		now=$(established "$client" || true)
		((${now:-0} >= first_established[$client] + $1 - 1)) ||
			fail "$client's session is but $now s old"
		now=$(children "$client" || true)
		[[ $now != "${first_children[$client]}" ]] || continue
		if ((unproven)); then
			echo "# $client's ESP was rekeyed"
		else
			fail "$client's ESP was rekeyed, without an unproven takeover"
		fi
	done
}

# How long the clients had to wait for each fault.
pauses_table()
{
	printf '# %-18s %12s %7s %14s\n' fault 'ping pause' lost 'transfer stall'
	jq -rs '[.[].events[]] | group_by(.name) | sort_by(.[0].at_ns)[] |
		select(.[0].name | startswith("f")) | "\(.[0].name) \(
		map(.longest_gap_ms // 0) | max | round) \(map(.lost // 0) | add) \(
		map(.longest_stall_ms // 0) | max | round)"' \
		"$out/ping-$tag"-*.json "$out/get-$tag"-*.json |
		while read -r fault gap lost stall; do
			printf '# %-18s %9s ms %7s %11s ms\n' "$fault" "$gap" "$lost" "$stall"
		done
}
