#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The member that works for the most clients is killed, all its processes at once; one of
# them does nothing but upload. It comes back, and is given units while they are in use.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

traffic_seconds=8
net_begin "$@"
scenario_begin owner-killed upload
victim=$(await_owner "$uploader" m1)
witness=$(other_member "$victim")
lab kill "$victim"
uploading || fail "the upload was over too early"
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 20 "all clients to reach the server again" all_reach
lab revive "$victim"
must 40 "units for $victim" whole "$witness"
must 20 "all clients to reach the server still" all_reach
scenario_end
