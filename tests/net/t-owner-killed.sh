#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that works for the most clients is killed, all its processes at once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
scenario_begin owner-killed
victim=$(busiest m1)
witness=$(other_member "$victim")
lab kill "$victim"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
scenario_end
revive "$victim"
