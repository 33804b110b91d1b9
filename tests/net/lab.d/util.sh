# SPDX-License-Identifier: GPL-2.0-or-later
# What every part of the lab uses. Sourced.

die()
{
	echo "lab: $*" >&2
	exit 1
}

now_ms()
{
	local t=${EPOCHREALTIME/[.,]/}
	echo $((t / 1000))
}

# A pipe that never has anything to read: waiting for it is the lab's only sleep.
exec {nap_fd}<> <(:)
nap()
{
	read -r -t 0.04 -u "$nap_fd" || true
}

# wait_for SECONDS DESCRIPTION COMMAND...: polls until the command succeeds. The seconds are
# those of a steady machine; an unsteady one gets LAB_PATIENCE times as many.
wait_for()
{
	local seconds=$(($1 * ${LAB_PATIENCE:-4})) what=$2 end
	shift 2
	end=$(($(now_ms) + seconds * 1000))
	until "$@" >/dev/null 2>&1; do
		if (($(now_ms) > end)); then
			echo "lab: gave up waiting for $what after $seconds s" >&2
			return 1
		fi
		nap
	done
}

need()
{
	local tool
	for tool; do
		command -v "$tool" >/dev/null || die "$tool is needed and not installed"
	done
}

# The lab's settings, written once by `up`: MODE MEMBERS CLIENTS PEER PLAIN
# INTERCONNECTS ACCOUNTING BUILD SETS.
lab_load()
{
	[[ -f $LAB_DIR/settings ]] || die "no lab is up in $LAB_DIR"
	# shellcheck source=/dev/null
	. "$LAB_DIR/settings"
}

lab_save()
{
	GUESTS=${GUESTS:-0}
	declare -p GUESTS MODE MEMBERS CLIENTS PEER PLAIN INTERCONNECTS ACCOUNTING BUILD SETS | sed "s/^declare /declare -g /" >"$LAB_DIR/settings"
}

members()
{
	local i
	for ((i = 1; i <= MEMBERS; i++)); do echo "m$i"; done
}

clients()
{
	local i
	for ((i = 1; i <= CLIENTS; i++)); do echo "c$i"; done
}

is_member() { [[ $1 =~ ^m[0-9]+$ ]]; }
is_site() { [[ $1 =~ ^g[12]$ ]]; }
is_gateway() { is_member "$1" || is_site "$1"; }

# The members of the site's cluster.
sites()
{
	local i
	for ((i = 1; i <= PEER; i++)); do echo "g$i"; done
}
is_client() { [[ $1 =~ ^c[0-9]+$ ]]; }
node_index() { echo "${1//[!0-9]/}"; }
