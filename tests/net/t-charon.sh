#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One member's charon hangs, and is ended as systemctl would: its clients go on with the
# other members and hear nothing of it. And a client that comes back after a crash, through
# whatever member, has one session: its INITIAL_CONTACT counts everywhere. So does `unique` of
# a connection, also when the owner of the older session has just died: a second login of one
# user replaces the first, or is refused.
# A charon's end has nothing to do with how frames find their member.
# modes: unicast
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

net_begin "$@"

charon_signal() { kill "-$2" "$(cat "$LAB_DIR/nodes/$1/charon.pid")"; }
said() { lab logs "$1" | grep "$2" >/dev/null; }

# comes_back CLIENT: it forgets all, and connects until another member answers.
comes_back()
{
	local was
	for _ in {1..8}; do
		was=$(await_owner "$1" m1)
		lab kill "$1"
		lab client "$1" up
		must 10 "$1 to have one session" has_sessions "$1" m1 1
		[[ $(owner_of "$1" m1) == "$was" ]] || return 0
	done
	fail "$1 has met $was only"
}

# log_in CLIENT
log_in() { lab exec "$1" swanctl --initiate --child net --timeout 30 >"$out/up-$1.log" 2>&1; }
# ends CLIENT: deletes of its session by the gateway.
ends() { grep -c 'received DELETE for IKE_SA home' "$LAB_DIR/nodes/$1/log/charon.log" || true; }
has_ended() { (($(ends "$1") > $2)); }

# replaces NEW OLD: the user logs in from one client, and the session from the other one ends.
replaces()
{
	local ended
	ended=$(ends "$2")
	log_in "$1" || fail "$1 cannot log in: $(xargs <"$out/up-$1.log")"
	must 10 "$2 to hear that it was replaced" has_ended "$2" "$ended"
	must 10 "the user to have one session" has_sessions one-replace "$witness" 1
	must 10 "$1 to reach the server" reaches "$1"
}

# is_refused CLIENT: since its user has a session.
is_refused()
{
	if log_in "$1"; then
		fail "$1 has logged in"
	elif ! grep -q 'received AUTHENTICATION_FAILED' "$out/up-$1.log"; then
		fail "$1 was not refused: $(xargs <"$out/up-$1.log")"
	fi
}
# How often a member has refused a user whom another one works for.
refused_afar()
{
	cat "$LAB_DIR"/nodes/m*/log/charon.log |
		grep -c 'is connected to another member of the cluster' || true
}

scenario_begin charon quiet
comes_back c2
scenario_prints[c2]=$(fingerprint c2)
victim=$(busiest m1)
witness=$(other_member "$victim")
charon_signal "$victim" STOP
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
said "$victim" 'charon has not answered' || fail "$victim has not noticed that charon hangs"
must 10 "all clients to reach the server" all_reach
charon_signal "$victim" CONT
must 30 "$victim to be a member with units again" whole "$witness"

victim=$(busiest m1)
witness=$(other_member "$victim")
charon_signal "$victim" TERM
must 20 "$victim's units to be taken over" owns_nothing "$victim" "$witness"
must 10 "all clients to reach the server without $victim's charon" all_reach
lab revive "$victim"
must 30 "$victim to be a member with units again" whole "$witness"
scenario_end

scenario_name unique
witness=m1
captures_begin
lab client c1 up --kind ipsec-replace
lab client c2 up --kind ipsec-replace
new=c2 old=c1
for _ in {1..8}; do
	was=$(await_owner one-replace m1)
	read -r new old <<<"$old $new"
	replaces "$new" "$old"
	victim=$(await_owner one-replace m1)
	[[ $victim == "$was" && ! ${reasons[*]} ]] || break
done
[[ $victim != "$was" ]] || fail "the user has met $was only"
lab client c3 up --kind ipsec-keep
keeps=$(fingerprint c3) refused=$(refused_afar)
! lab client c4 up --kind ipsec-keep 2>/dev/null || fail "c4 has logged in"
for _ in {1..8}; do
	is_refused c4
	(($(refused_afar) == refused)) || break
done
(($(refused_afar) > refused)) || fail "c4 has met its user's member only"

lab_clients='one-replace one-keep'
gather "$victim" || fail "the sessions cannot be gathered at $victim"
witness=$(other_member "$victim")
lab kill "$victim"
is_refused c4
replaces "$old" "$new"
must 10 "c3 to reach the server" reaches c3
[[ $(fingerprint c3) == "$keeps" ]] || fail "c3 has other SAs"
has_sessions one-keep "$witness" 1 || fail "c3's user has not one session"
lab_clients="$old c3"
captures_judge
crash_judge
scenario_verdict
# Later tests have other clients.
for client in c1 c2 c3 c4; do lab client "$client" down; done
revive "$victim"
