# SPDX-License-Identifier: GPL-2.0-or-later
# What every part of the lab uses. Sourced.

die()
{
	echo "lab: $*" >&2
	exit 1
}

# abreast COMMAND...: while other things go on. abreast_done: all of that has come to its
# end; if something has failed, so do we.
abreast_pids=()
abreast()
{
	"$@" &
	abreast_pids+=($!)
}
abreast_done()
{
	local pid failed=0
	for pid in "${abreast_pids[@]}"; do wait "$pid" || failed=1; done
	abreast_pids=()
	((!failed)) || exit 1
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
