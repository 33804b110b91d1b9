#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# After a burst, its owner's death and then one packet a second, the first of those
# packets arrives, in either direction: no sequence numbers that the other end refuses.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# one_each_second NODE DESTINATION: three packets, all of which must come back.
one_each_second()
{
	local got
	got=$(lab exec "$1" ping -n -q -c 3 -i 1 -W 1 "$2" | grep -o '[0-9]* received' || true)
	[[ $got == '3 received' ]] || fail "of three pings from $1 to $2: ${got:-none}"
}

net_begin "$@"
scenario_begin dead-gap quiet
victim=$(busiest m1)
witness=$(other_member "$victim")
served=$(owners m1 | sed -n "s/ $victim$//p")
for client in $served; do
	lab exec "$client" ping -n -q -f -c 3000 -l 32 -W 1 "$S1" >/dev/null ||
		fail "no answers to $client's burst"
done
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
eval "$(lab env)"
for client in $served; do
	virtual=${client^^}_VIRTUAL
	one_each_second "$client" "$S1"
	one_each_second s1 "${!virtual}"
done
scenario_end
revive "$victim"
