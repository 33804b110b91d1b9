#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A member that was dead comes back, and is given units while they are in use.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"
restore
connect_all
victim=$(busiest m1)
witness=$(other_member "$victim")
lab kill "$victim"
wait_for 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
scenario_begin member-returns partly
lab revive "$victim"
must 30 "units for $victim" whole "$witness"
must 20 "all clients to reach the server still" all_reach
scenario_end
