/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as what the kernel says of links and addresses. The input is a list of
 * messages: type, length, and that many bytes of payload, whose attributes may be cut
 * anywhere; the frame around them is made here, as it is libmnl that takes it off.
 */
#include "src/netlink.c"

#include "cluster/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void changed(void *ctx, unsigned which, bool running)
{
	unsigned *told = ctx;

	must(which < 2);
	++*told;
}

static void hear(struct netlink_watch *watch, uint8_t type, const uint8_t *payload,
		 size_t len)
{
	struct netlink_address addresses[4];
	struct address_list list = { addresses, 4, 0, 1, AF_INET };
	struct address_list list6 = { addresses, 4, 0, 1, AF_INET6 };
	struct netlink_link link = { 0 };
	/* Exactly sized, so that a sanitizer sees each read beyond the end; libmnl takes
	 * for granted that a message is padded. */
	struct nlmsghdr *h = calloc(1, MNL_NLMSG_HDRLEN + MNL_ALIGN(len));

	must(h != NULL);
	*h = (struct nlmsghdr){ .nlmsg_len = (uint32_t)(MNL_NLMSG_HDRLEN + len),
				.nlmsg_type = type };
	memcpy((uint8_t *)h + MNL_NLMSG_HDRLEN, payload, len);
	mnl_cb_run(h, h->nlmsg_len, 0, 0, on_watched, watch);
	mnl_cb_run(h, h->nlmsg_len, 0, 0, on_link, &link);
	mnl_cb_run(h, h->nlmsg_len, 0, 0, on_address, &list);
	mnl_cb_run(h, h->nlmsg_len, 0, 0, on_address, &list6);
	must(list.count <= len / 8 && list6.count <= len / 20);
	free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
	struct unpack u = unpack_from(input, len);
	struct netlink_watch *watch =
	    calloc(1, sizeof(*watch) + 2 * sizeof(watch->links[0]));
	unsigned told = 0, messages = 0;

	must(watch != NULL);
	watch->changed = changed;
	watch->ctx = &told;
	watch->count = 2;
	strcpy(watch->links[0].name, "lo");
	strcpy(watch->links[1].name, "eth0");
	while (unpack_left(&u)) {
		uint8_t type = unpack_u8(&u);
		size_t n = unpack_u8(&u);
		const uint8_t *payload = unpack_raw(&u, n);

		if (!payload)
			break;
		hear(watch, type, payload, n);
		messages++;
	}
	must(told <= messages * 64);
	free(watch);
	return 0;
}
