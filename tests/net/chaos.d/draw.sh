# SPDX-License-Identifier: GPL-2.0-or-later
# What happens next, from the seed and the number of the fault. Sourced.

all_kinds="daemon node freeze unplug split line charon stop drain move clog"

# draw N: a number below N in $drawn. The generator (splitmix64) is this script's own, so
# that a seed means the same with every version of bash.
draw()
{
	local z
	draw_state=$((draw_state - 7046029254386353131))
	z=$draw_state
	z=$(((z ^ (z >> 30 & 0x3ffffffff)) * -4658895280553007687))
	z=$(((z ^ (z >> 27 & 0x1fffffffff)) * -7723592293110705685))
	z=$((z ^ (z >> 31 & 0x1ffffffff)))
	drawn=$(((z >> 1 & 0x7fffffffffffffff) % $1))
}

# draw_of WORD...: one of them, in $drawn.
draw_of()
{
	draw $#
	drawn=$((drawn + 1))
	drawn=${!drawn}
}

# draw_fault NUMBER: sets
#	kind	what is done
#	victim, other	two members
#	client	one of the clients
#	variant	a number, which each kind understands in its own way
#	before	ms between the end of the last one and this one
#	hold	ms that it lasts; "served": until all clients are served again
draw_fault()
{
	local hold_kind
	draw_state=$((seed * 1000003 + $1))
	# shellcheck disable=SC2086
	draw_of $kinds && kind=$drawn
	# shellcheck disable=SC2086
	draw_of $lab_members && victim=$drawn
	other=$victim
	while [[ $other == "$victim" ]]; do
		# shellcheck disable=SC2086
		draw_of $lab_members && other=$drawn
	done
	# shellcheck disable=SC2086
	draw_of $lab_clients && client=$drawn
	draw 1000 && variant=$drawn
	draw 2 && before=$drawn
	draw 1500 && before=$((before * drawn))
	draw 3 && hold_kind=$drawn
	# Times are parts of the detection interval, in thousandths.
	case $hold_kind in
	0) draw 1000 && hold=$((drawn * interval / 1000)) ;;
	1) draw 5000 && hold=$((interval + drawn * interval / 1000)) ;;
	2) hold=served ;;
	esac
}

pause_ms()
{
	(($1 == 0)) || read -r -t "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" \
		-u "$nap_fd" || true
}

# The fault lasts as long as was drawn.
holding()
{
	if [[ $hold == served ]]; then
		note "   until all clients are served"
		must 20 "all clients to reach the server during #$number" all_reach
	else
		pause_ms "$hold"
	fi
}
