# SPDX-License-Identifier: GPL-2.0-or-later
# Waiting for what comes true. Sourced.

now_ms()
{
	local t=${EPOCHREALTIME/[.,]/}
	echo $((t / 1000))
}

# A pipe that never has anything to read: waiting for it is the tests' only sleep.
exec {nap_fd}<> <(:)
naps=(0.01 0.02 0.04 0.08)

# nap [N]: before the Nth try, which may wait longer than those before it.
nap()
{
	local n=${1:-2}
	read -r -t "${naps[n < ${#naps[@]} ? n : -1]}" -u "$nap_fd" || true
}

# wait_for SECONDS DESCRIPTION COMMAND...: polls until the command succeeds. The seconds are
# those of a steady machine; an unsteady one gets LAB_PATIENCE times as many.
wait_for()
{
	local seconds=$(($1 * ${LAB_PATIENCE:-4})) what=$2 end tries=0
	shift 2
	end=$(($(now_ms) + seconds * 1000))
	until "$@" >/dev/null 2>&1; do
		if (($(now_ms) > end)); then
			echo "${0##*/}: gave up waiting for $what after $seconds s" >&2
			return 1
		fi
		nap $((tries++))
	done
}
