# SPDX-License-Identifier: GPL-2.0-or-later
# The faults, each with its undoing. Sourced. They use what draw.sh has drawn.

# fault_text: in words, with everything that was drawn for it.
fault_text()
{
	local text="$kind $victim"
	case $kind in
	daemon) text+=" $(daemon_variant)" ;;
	freeze) text+=" $(freeze_variant)" ;;
	unplug) text+=" $(unplug_variant)" ;;
	line) text+=" $(line_variant) $other" ;;
	clog) text+=" $(clog_variant)" ;;
	drain) text+=" $(drain_variant)" ;;
	move) text="$kind $client's unit to $victim, $(move_variant)" ;;
	esac
	echo "$text, before $before ms, hold $hold"
}

# one_of WORD...: as the variant says.
one_of()
{
	local at=$((variant % $# + 1))
	echo "${!at}"
}

keeper_of() { cat "$LAB_DIR/nodes/$1/phalanxd.pid"; }
daemon_of() { pgrep -P "$(keeper_of "$1")"; }

# ---- phalanxd alone dies: the member, or its keeper and so both, or both at once

daemon_variant() { one_of member keeper both; }

fault_daemon()
{
	local keeper member
	keeper=$(keeper_of "$victim")
	member=$(daemon_of "$victim")
	case $(daemon_variant) in
	member) kill -KILL "$member" ;;
	keeper) kill -KILL "$keeper" ;;
	both) kill -KILL "$keeper" "$member" ;;
	esac
	must 5 "the end of $victim's processes" processes_gone "$keeper" "$member"
	holding
	lab revive "$victim"
}

processes_gone()
{
	local pid state
	for pid; do
		state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null || true)
		[[ -z $state || $state == Z ]] || return 1
	done
}

# ---- a whole member dies

fault_node()
{
	lab kill "$victim"
	holding
	lab revive "$victim"
}

# ---- the member stops, alone or with its charon and keeper, and wakes up

freeze_variant() { one_of phalanxd all; }

fault_freeze()
{
	local member
	if [[ $(freeze_variant) == all ]]; then
		lab freeze "$victim"
		holding
		lab thaw "$victim"
	else
		member=$(daemon_of "$victim")
		kill -STOP "$member"
		holding
		kill -CONT "$member"
	fi
}

# ---- no carrier

unplug_variant() { one_of outside inside all; }

fault_unplug()
{
	lab unplug "$victim" "$(unplug_variant)"
	holding
	lab plug "$victim" "$(unplug_variant)"
}

# ---- the member is cut off the others, but not off the clients: two parts serve

fault_split()
{
	local from network
	from=$EPOCHREALTIME
	for network in $(networks_between); do lab unplug "$victim" "$network"; done
	holding
	for network in $(networks_between); do lab plug "$victim" "$network"; done
	must $held_back "the parts to be merged" settled
	splits+=(-s "$from-$EPOCHREALTIME")
}

networks_between()
{
	echo cluster
	if ((INTERCONNECTS > 1)); then echo cluster2; fi
}

# ---- two members do not hear each other, or one not the other

line_variant() { one_of '<->' '->' '<-'; }

fault_line()
{
	local how
	how=$(line_variant)
	[[ $how == '->' ]] || lab cut "$other" "$victim"
	[[ $how == '<-' ]] || lab cut "$victim" "$other"
	holding
	lab heal
}

# ---- a member takes nothing of what is sent by connections: of one other, or of all

clog_variant() { one_of 'by all' "by $other"; }

fault_clog()
{
	local member
	for member in $lab_members; do
		[[ $member == "$victim" ]] ||
			[[ $(clog_variant) == "by $other" && $member != "$other" ]] ||
			lab clog "$victim" "$member"
	done
	holding
	lab heal
}

# ---- charon dies

fault_charon()
{
	local pid
	pid=$(cat "$LAB_DIR/nodes/$victim/charon.pid")
	kill -KILL "$pid"
	must 5 "the end of $victim's charon" processes_gone "$pid"
	holding
	lab revive "$victim"
}

# ---- what an operator does

fault_stop()
{
	local keeper
	keeper=$(keeper_of "$victim")
	kill -TERM "$keeper"
	must 30 "$victim to stop" processes_gone "$keeper"
	holding
	lab revive "$victim"
}

# A member that is drained may be killed meanwhile; it comes back as drained.
drain_variant() { one_of '' 'and kill it'; }

fault_drain()
{
	operate drain "$victim" --no-wait
	[[ $hold != served ]] ||
		must 20 "$victim to be empty" owns_nothing "$victim" "$other"
	holding
	if [[ -n $(drain_variant) ]]; then
		lab kill "$victim"
		must 20 "all clients to reach the server during #$number" all_reach
		lab revive "$victim"
	fi
	operate undrain "$victim"
}

# operate COMMAND...: told to a member that was drawn, until it is done.
operate()
{
	must $held_back "clusterctl $*" lab exec "$other" timeout 10 clusterctl "$@"
}

# The move goes on, or its owner or its target dies in the middle of it.
move_variant() { one_of alone 'then kill its owner' 'then kill its target'; }

fault_move()
{
	local unit owner dead='' target=$victim
	unit=$(session_field "$client" .unit)
	owner=$(session_field "$client" .owner)
	# Where it is already it cannot go.
	[[ $owner != "$target" ]] || target=$other
	note "   unit $unit from $owner to $target"
	# It may be on its way already, by balance.
	lab exec "$owner" timeout 10 clusterctl move "$unit" "$target" --no-wait \
		>/dev/null 2>&1 || note "   it does not move"
	case $(move_variant) in
	*owner) dead=$owner ;;
	*target) dead=$target ;;
	esac
	[[ -z $dead ]] || lab kill "$dead"
	holding
	[[ -z $dead ]] || lab revive "$dead"
}

# session_field CLIENT FIELD
session_field()
{
	local user=$1@
	[[ $1 != g1 ]] || user=site.example.org
	ask "$other" sessions | jq -r --arg user "$user" \
		"first(.sessions[] | select(.user | startswith(\$user))) | $2"
}
