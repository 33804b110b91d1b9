#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The master is killed; another one answers ARP for the cluster addresses.
# In the other modes t-ipv6 does the same.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_begin master-killed
victim=$(master m1)
witness=$(other_member "$victim")
lab kill "$victim"
must 20 "another master" has_other_master "$victim" "$witness"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
lab exec r1 ip neigh flush dev outside
lab exec s1 ip neigh flush dev eth0
must 20 "all clients to reach the server again" all_reach
scenario_end
revive "$victim"
