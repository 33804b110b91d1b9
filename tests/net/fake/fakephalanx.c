/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * phalanxd as charon's plugin sees it, for tests of the plugin alone: one process that
 * serves two charons, A and B, over the local protocol, and joins the active one to real
 * UDP sockets of one address.
 *
 *   fakephalanx ADDRESS SOCKET_A SOCKET_B
 *
 * It keeps what the plugin reports, and logs each message as a line. Commands come as
 * lines on standard input:
 *
 *   takeover A|B   that charon becomes the active one and gets all SAs; nothing is lost or
 *                  kept any more
 *   doubt A|B      as takeover, but its numbers may be behind
 *   sync A|B       and they are: those of before the last exchanges
 *   activate A|B   that charon becomes the active one, and that is all
 *   drop A|B       that charon is told to drop all SAs
 *   hold N         requests of IKE_AUTH from number N on are lost; 0: none
 *   half A|B       that charon becomes the active one and gets the last half-open SA
 *   lose N         responses to CREATE_CHILD_SA are lost (1), or charon's own requests (2)
 *   cross N        whether our requests of CREATE_CHILD_SA are kept until the peer has
 *                  made one of its own
 *   fail N         requests of IKE_AUTH from number N on are to be refused; 0: none
 *   verify A|B     that charon is asked whether the last response was authentic
 *   forge A|B      and whether it were with another last byte
 *   end A|B        that charon is told to end all SAs silently, as INITIAL_CONTACT does
 *   refuse N       whether peers are connected elsewhere: to clients' unique = keep, and
 *                  to INITIAL_CONTACT of the plugin's own
 *   ping A|B       that charon is asked whether it is alive
 *   slow N         the next question for a CHILD SA's counters is not answered, so charon
 *                  waits with the IKE SA. Meanwhile charon is to verify a response for it
 *                  (1), to drop it (2), or to drop it and to have it back (3), and is asked
 *                  whether it is alive
 *   expire A|B     each inbound SA's soft lifetime runs out
 *   move A|B       each CHILD SA's client is seen at another port by its ESP, or back
 *   shift N        clients' ports appear N higher, as a NAT that forgot them would do
 *   mark TEXT      logs the text
 *   quit
 */
#include <arpa/inet.h>
#include <err.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/net/fake/fake.h"

#define MOVED 6500

struct orders orders;

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static void expire_child(struct charon *p, uint32_t spi_in)
{
	struct local_message m = { .type = LOCAL_SA_EXPIRE };

	m.sa_expire.spi = spi_in;
	m.sa_expire.inbound = 1;
	m.sa_expire.dst.family = 4;
	memcpy(m.sa_expire.dst.bytes, &own, 4);
	charons_tell(p, &m);
}

static void move_child(struct charon *p, const struct sa *sa, uint32_t spi_in)
{
	struct local_message m = { .type = LOCAL_SA_MOVED };

	m.sa_moved.spi = spi_in;
	m.sa_moved.dst.family = 4;
	memcpy(m.sa_moved.dst.bytes, &own, 4);
	m.sa_moved.dst.port = ports[1];
	m.sa_moved.src = sa->remote;
	m.sa_moved.src.port = sa->remote.port == MOVED ? ports[1] : MOVED;
	charons_tell(p, &m);
}

static void drop(struct charon *p, uint64_t spi)
{
	struct local_message m = { .type = LOCAL_IKE_DROP };

	m.ike_drop.spi = spi;
	charons_tell(p, &m);
}

static void end(struct charon *p, const struct sa *sa)
{
	struct local_message m = { .type = LOCAL_IKE_REPLACED };

	m.ike_replaced.spi = sa->spi;
	m.ike_replaced.how = LOCAL_END_SILENT;
	charons_tell(p, &m);
}

static void for_all(struct charon *p, const char *verb)
{
	for (unsigned i = 0; i < sas_count; i++) {
		struct sa *sa = &sas[i];

		if (!sa->state)
			continue;
		if (!strcmp(verb, "takeover"))
			charons_import(p, sa, false, false);
		else if (!strcmp(verb, "doubt"))
			charons_import(p, sa, true, false);
		else if (!strcmp(verb, "sync"))
			charons_import(p, sa, true, true);
		else if (!strcmp(verb, "drop"))
			drop(p, sa->spi);
		else if (!strcmp(verb, "end"))
			end(p, sa);
		for (unsigned j = 0; j < sa->child_count; j++) {
			if (!strcmp(verb, "expire"))
				expire_child(p, sa->children[j].spi_in);
			else if (!strcmp(verb, "move"))
				move_child(p, sa, sa->children[j].spi_in);
		}
	}
}

/* Whether the line is a command with a number. */
static bool set_order(const char *line)
{
	static const struct {
		const char *verb;
		unsigned *value;
	} all[] = { { "shift", &orders.shift }, { "refuse", &orders.refuse },
		    { "cross", &orders.cross }, { "lose", &orders.lose },
		    { "hold", &orders.hold },	{ "fail", &orders.fail },
		    { "slow", &orders.slow } };
	char verb[16];
	unsigned value;

	if (sscanf(line, "%15s %u", verb, &value) != 2)
		return false;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(verb, all[i].verb)) {
			*all[i].value = value;
			return true;
		}
	return false;
}

static void verify(struct charon *p, bool forged)
{
	uint8_t *byte;

	if (!last.verify.type)
		return;
	byte = &last.bytes[last.verify.ike_verify.packet.len - 1];
	*byte ^= forged;
	charons_tell(p, &last.verify);
	*byte ^= forged;
}

static void obey(struct charon *p, const char *verb)
{
	bool takeover = !strcmp(verb, "takeover");

	if (!strcmp(verb, "ping"))
		charons_ping(p);
	if (!strcmp(verb, "verify") || !strcmp(verb, "forge"))
		verify(p, !strcmp(verb, "forge"));
	if (!strcmp(verb, "half")) {
		active = p;
		charons_import_half(p);
	}
	if (takeover || !strcmp(verb, "activate") || !strcmp(verb, "doubt") ||
	    !strcmp(verb, "sync"))
		active = p;
	if (takeover)
		orders.lose = orders.cross = 0;
	if (!strcmp(verb, "drop") && half.spi)
		drop(p, half.spi);
	for_all(p, verb);
}

/* False at the end. */
static bool command(void)
{
	char line[256], verb[16] = "", who = 0;

	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, "mark ", 5)) {
		say("MARK %s", line + 5);
		return true;
	}
	if (set_order(line))
		return true;
	sscanf(line, "%15s %c", verb, &who);
	if (!strcmp(verb, "quit"))
		return false;
	obey(&charons[who == 'B'], verb);
	say("DONE %s", line);
	return true;
}

static void serve(void)
{
	struct pollfd fds[7];

	for (;;) {
		for (unsigned i = 0; i < 2; i++) {
			fds[i] = (struct pollfd){ udp[i], POLLIN, 0 };
			fds[2 + i] = (struct pollfd){ charons[i].listener, POLLIN, 0 };
			fds[4 + i] = (struct pollfd){ charons[i].fd, POLLIN, 0 };
		}
		fds[6] = (struct pollfd){ STDIN_FILENO, POLLIN, 0 };
		if (poll(fds, 7, -1) < 0)
			err(1, "poll");
		for (unsigned i = 0; i < 2; i++) {
			if (fds[i].revents)
				clients_receive(i);
			if (fds[4 + i].revents)
				charons_receive(&charons[i]);
			else if (fds[2 + i].revents)
				charons_accept(&charons[i]);
		}
		if (fds[6].revents && !command())
			return;
	}
}

int main(int argc, char **argv)
{
	if (argc != 4 || !inet_aton(argv[1], &own))
		errx(2, "usage: fakephalanx ADDRESS SOCKET_A SOCKET_B");
	/* poll() must see each line, so none may wait in a buffer. */
	setvbuf(stdin, NULL, _IONBF, 0);
	clients_bind();
	for (int i = 0; i < 2; i++)
		charons_listen(&charons[i], argv[2 + i]);
	say("ready");
	serve();
	return 0;
}
