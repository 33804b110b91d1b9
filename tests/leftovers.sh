# SPDX-License-Identifier: GPL-2.0-or-later
# What test runs that were killed have left behind, and the proof that they are dead.
# Sourced by whatever makes network namespaces. A "maker" names one process and no other,
# of any time: its pid, its start and the pid namespace that counts it.

# process_start PID: in clock ticks since the boot, or nothing if no such process lives.
process_start()
{
	local stat fields
	{ stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
	# The name may contain anything, but no parenthesis follows it.
	read -ra fields <<<"${stat##*) }"
	[[ ${fields[0]} == [ZX] ]] || echo "${fields[19]}"
}

pid_namespace() { readlink /proc/self/ns/pid | tr -dc 0-9; }

# maker_of PID
maker_of() { echo "$1.$(process_start "$1").$(pid_namespace)"; }

# maker_dead MAKER: it is certain that this process lives no more.
maker_dead()
{
	local pid start namespace
	[[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || return 1
	IFS=. read -r pid start namespace <<<"$1"
	[[ $namespace == "$(pid_namespace)" && $(process_start "$pid") != "$start" ]]
}

# namespaces_sweep KIND: ends the network namespaces called KIND.MAKER-NODE, and what runs
# in them, if their maker is dead.
namespaces_sweep()
{
	local name maker pids
	for name in $(ip netns list | sed -n "s/^\($1\.[0-9.]*-[a-z0-9]*\).*/\1/p"); do
		maker=${name#"$1."}
		maker_dead "${maker%%-*}" || continue
		pids=$(ip netns pids "$name" 2>/dev/null)
		# shellcheck disable=SC2086
		[[ -z $pids ]] || kill -KILL $pids 2>/dev/null
		ip netns del "$name" 2>/dev/null
	done
	return 0
}
