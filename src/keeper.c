/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include "src/keeper.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/log.h"
#include "src/mark.h"

#define ROUNDS 3
#define ROUND_PAUSE_MS 3
/* How long the rest of the member's processes may take to die before the notes go out. */
#define REAP_MS 10

struct address {
	socklen_t len;
	struct sockaddr_storage storage;
};

/* `len` is written last and cleared first: a member that dies while it writes a note
 * leaves none, not half of one. */
struct note {
	_Atomic uint32_t len;
	uint8_t bytes[KEEPER_NOTE_MAX];
};

struct keeper_page {
	_Atomic bool left;
	struct address from[KEEPER_PATHS];
	struct address to[KEEPER_PEERS][KEEPER_PATHS];
	uint8_t newest[KEEPER_PEERS];
	struct note notes[KEEPER_PEERS][2];
};

static const int forwarded[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
#define NFORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

struct keeper_page *keeper_page_new(void)
{
	struct keeper_page *page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return page == MAP_FAILED ? NULL : page;
}

void keeper_page_free(struct keeper_page *page)
{
	if (page)
		munmap(page, sizeof(*page));
}

void keeper_leave(struct keeper_page *page)
{
	atomic_store(&page->left, true);
}

static void set_address(struct address *a, const struct sockaddr *to, socklen_t len)
{
	if (len > sizeof(a->storage))
		return;
	memcpy(&a->storage, to, len);
	a->len = len;
}

void keeper_from(struct keeper_page *page, unsigned path, const struct sockaddr *from,
		 socklen_t len)
{
	if (path < KEEPER_PATHS)
		set_address(&page->from[path], from, len);
}

void keeper_to(struct keeper_page *page, unsigned slot, unsigned path,
	       const struct sockaddr *to, socklen_t len)
{
	if (slot < KEEPER_PEERS && path < KEEPER_PATHS)
		set_address(&page->to[slot][path], to, len);
}

int keeper_note(struct keeper_page *page, unsigned slot, const uint8_t *note, size_t len)
{
	if (slot >= KEEPER_PEERS || len > KEEPER_NOTE_MAX)
		return -EMSGSIZE;
	uint8_t at = !page->newest[slot];
	struct note *n = &page->notes[slot][at];
	atomic_store(&n->len, 0);
	memcpy(n->bytes, note, len);
	atomic_store(&n->len, (uint32_t)len);
	page->newest[slot] = at;
	return 0;
}

/* What the parent works with. */
struct keeper {
	const struct keeper_config *config;
	struct keeper_page *page;
	pid_t child;
	int v4, v6; /* sockets, -1: that family is missing here */
};

static void pause_ms(long ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000 };
	nanosleep(&t, NULL);
}

/* Room for either family's source address. */
union control {
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct cmsghdr align;
};

/* Asks for the member's own address on that network, which the peers' firewalls know. */
static void set_source(struct msghdr *m, const struct address *from,
		       union control *control)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)&from->storage;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&from->storage;
	struct cmsghdr *c = &control->align;

	m->msg_control = control;
	if (in4->sin_family == AF_INET) {
		const struct in_pktinfo source = { .ipi_spec_dst = in4->sin_addr };
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(source)), IPPROTO_IP, IP_PKTINFO };
		memcpy(CMSG_DATA(c), &source, sizeof(source));
		m->msg_controllen = CMSG_SPACE(sizeof(source));
	} else {
		const struct in6_pktinfo source = { .ipi6_addr = in6->sin6_addr };
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(source)), IPPROTO_IPV6,
				       IPV6_PKTINFO };
		memcpy(CMSG_DATA(c), &source, sizeof(source));
		m->msg_controllen = CMSG_SPACE(sizeof(source));
	}
}

static bool send_over(const struct keeper *k, const struct note *n, size_t len,
		      const struct address *from, const struct address *to)
{
	int fd = to->storage.ss_family == AF_INET6 ? k->v6 : k->v4;
	struct iovec bytes = { (void *)(uintptr_t)n->bytes, len };
	struct msghdr m = { .msg_name = (void *)(uintptr_t)&to->storage,
			    .msg_namelen = to->len,
			    .msg_iov = &bytes,
			    .msg_iovlen = 1 };
	union control control = { 0 };

	if (to->len == 0 || to->len > sizeof(to->storage))
		return false;
	if (from->len && from->storage.ss_family == to->storage.ss_family)
		set_source(&m, from, &control);
	if (sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len)
		return true;
	/* The address may be gone, and the peer reachable all the same. */
	m.msg_control = NULL;
	m.msg_controllen = 0;
	return from->len && sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static bool send_note(const struct keeper *k, unsigned slot, unsigned which)
{
	const struct note *n = &k->page->notes[slot][which];
	uint32_t len = atomic_load(&n->len);
	bool sent = false;

	if (len == 0 || len > KEEPER_NOTE_MAX)
		return false;
	for (unsigned i = 0; i < KEEPER_PATHS; i++)
		sent |= send_over(k, n, len, &k->page->from[i], &k->page->to[slot][i]);
	return sent;
}

/* Returns the number of peers that a note was sent to. */
static unsigned send_notes(const struct keeper *k)
{
	unsigned peers = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		if (round)
			pause_ms(ROUND_PAUSE_MS);
		peers = 0;
		for (unsigned i = 0; i < KEEPER_PEERS; i++) {
			bool newer = send_note(k, i, 1);
			bool older = send_note(k, i, 0);
			peers += newer || older;
		}
	}
	return peers;
}

/* Kills what is left of the child's process group and waits a moment for it to be gone.
 * The child itself is still a zombie, so its group's number cannot be another's. */
static void kill_rest(pid_t child)
{
	kill(-child, SIGKILL);
	for (unsigned ms = 0; ms < REAP_MS; ms++) {
		pid_t pid;
		do
			pid = waitpid(-child, NULL, WNOHANG);
		while (pid > 0);
		if (pid < 0)
			return; /* nobody left */
		pause_ms(1);
	}
	log_warnx("processes of the dead member are still there after %d ms", REAP_MS);
}

static int exit_status(const siginfo_t *how)
{
	if (how->si_code != CLD_EXITED)
		return 128 + how->si_status;
	return how->si_status ? how->si_status : 1;
}

/* Returns if that is not possible. */
static void begin_again(const struct keeper *k)
{
	sigset_t none;

	if (!k->config->again)
		return;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	k->config->again(k->config->ctx);
	log_warn("cannot start again");
}

static _Noreturn void child_over(const struct keeper *k, const siginfo_t *how)
{
	unsigned peers;

	if (atomic_load(&k->page->left)) {
		kill_rest(k->child);
		_exit(0);
	}
	if (k->config->at_death)
		k->config->at_death(k->config->ctx);
	kill_rest(k->child);
	if (how->si_code == CLD_EXITED && how->si_status == KEEPER_AGAIN)
		begin_again(k);
	peers = send_notes(k);
	if (how->si_code == CLD_EXITED)
		log_warnx("the member (process %d) exited with status %d; told %u peers",
			  (int)k->child, how->si_status, peers);
	else
		log_warnx(
		    "the member (process %d) was killed by signal %d (%s); told %u peers",
		    (int)k->child, how->si_status, strsignal(how->si_status), peers);
	_exit(exit_status(how));
}

/* Reaps orphans of the member, which are ours as its subreaper; ends with the child. */
static void reap(const struct keeper *k)
{
	for (;;) {
		siginfo_t how = { .si_pid = 0 };
		if (waitid(P_PID, (id_t)k->child, &how, WEXITED | WNOHANG | WNOWAIT) ==
			0 &&
		    how.si_pid == k->child)
			child_over(k, &how);
		how.si_pid = 0;
		if (waitid(P_ALL, 0, &how, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		    how.si_pid == 0)
			return;
		if (how.si_pid != k->child)
			waitpid(how.si_pid, NULL, WNOHANG);
	}
}

static _Noreturn void keep(const struct keeper *k, const sigset_t *signals)
{
	prctl(PR_SET_NAME, "phalanxd-keeper");
	log_set_name("phalanxd-keeper");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* A death is announced without waiting for a page from the disk. Best effort. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	for (;;) {
		siginfo_t signal;
		if (sigwaitinfo(signals, &signal) < 0)
			continue; /* EINTR: stopped and continued */
		if (signal.si_signo == SIGCHLD)
			reap(k);
		else
			kill(k->child, signal.si_signo);
	}
}

/* False if the parent is gone already; the kernel's promise holds only from now on. */
static bool become_member(pid_t parent)
{
	setpgid(0, 0);
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static void keeper_close(const struct keeper *k)
{
	if (k->v4 >= 0)
		close(k->v4);
	if (k->v6 >= 0)
		close(k->v6);
}

struct keeper_page *keeper_run(const struct keeper_config *config)
{
	struct keeper k = { .config = config, .page = keeper_page_new() };
	const uint32_t mark = CLUSTER_MARK; /* as the interconnect's sockets have it */
	pid_t parent = getpid();
	sigset_t signals, before;

	if (!k.page)
		return NULL;
	k.v4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	k.v6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(k.v4, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	setsockopt(k.v6, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	for (unsigned i = 0; i < NFORWARDED; i++)
		sigaddset(&signals, forwarded[i]);
	/* Blocked before there is a child, so that no signal is lost. */
	sigprocmask(SIG_BLOCK, &signals, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	k.child = fork();
	if (k.child > 0) {
		setpgid(k.child, k.child);
		keep(&k, &signals);
	}
	int error = errno;
	keeper_close(&k);
	if (k.child == 0) {
		if (!become_member(parent))
			_exit(1);
		sigprocmask(SIG_SETMASK, &before, NULL);
		return k.page;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	sigprocmask(SIG_SETMASK, &before, NULL);
	keeper_page_free(k.page);
	errno = error;
	return NULL;
}
