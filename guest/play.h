/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a player of the stress does: stores to shared pages that others store to as well, and loads that must find it.
 * The same code plays as a vCPU (guest/stress.c), a host thread and a device (tests/stress/players.c).
 * Owns the meaning of a page's words under the stress; a player's memory is the caller's.
 * Knows neither how an access is done nor what happens to the pages meanwhile.
 */
#ifndef UMBRA_GUEST_PLAY_H
#define UMBRA_GUEST_PLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAY_MAX   64 /* players */
#define PLAY_TWINS 4  /* different contents of a twin page */

/*
 * Pages [0, keep) are shared:
 *	VERSION, TAG, BODY.., TAIL	a record that its owner replaces: TAIL first, VERSION last. Readers go the other way, so
 *			a record with equal ends is whole, and its body follows from page and version
 *	COUNTER		all add to it
 *	OWN + player	one more at each step of that player, who alone stores there
 *	A, and B of the page half of all pages further: the owner stores the same number to A, then to B
 * Pages [keep, keep + twins) each have an owner too, who fills them with one of PLAY_TWINS contents: fit to be merged.
 */
enum {
	PLAY_VERSION = 0,
	PLAY_TAG = 1,
	PLAY_COUNTER = 100,
	PLAY_OWN = 110,
	PLAY_A = 200,
	PLAY_B = 201,
	PLAY_BODY = 240,
	PLAY_BODY_STEP = 32,
	PLAY_BODIES = 8,
	PLAY_TAIL = 511,
	PLAY_TWIN_STEP = 73,
};

/* What a player, or who looks after the players, may find wrong. */
enum play_oracle {
	PLAY_LOST,    /* own word: not what was stored last */
	PLAY_STALE,   /* a version older than one that was complete, or seen, before */
	PLAY_TORN,    /* a record that is not whole */
	PLAY_FOREIGN, /* another page's record, or none */
	PLAY_ORDER,   /* B is newer than A */
	PLAY_MERGED,  /* a twin page does not hold what its owner stored */
	PLAY_ORACLES
};

struct play_ops {
	uint64_t (*load)(void *ctx, uint64_t page, unsigned word);
	void (*store)(void *ctx, uint64_t page, unsigned word, uint64_t value);
	void (*add)(void *ctx, uint64_t page, unsigned word); /* one, in one step */
	void (*wrong)(void *ctx, enum play_oracle oracle, uint64_t page, uint64_t got,
		      uint64_t want);
};

struct play {
	const struct play_ops *ops;
	void *ctx;
	unsigned id, players;
	uint64_t keep, twins;
	uint32_t *
		floor; /* [keep], shared: the version that a load which starts now must see at least */
	uint32_t *seen, *own, *pair, *twin; /* this player's, play_memory() in all */
	uint64_t random;
	bool quiet; /* loads only */
	uint64_t adds, operations;
};

static inline uint64_t play_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 0 for version 0: a page that nobody has stored to. */
static inline uint64_t play_mix(uint64_t what, uint64_t version, unsigned part)
{
	uint64_t z = (what << 32 | version) * 0x9e3779b97f4a7c15u + part;

	return version ? (z ^ z >> 29) * 0xbf58476d1ce4e5b9u : 0;
}

static inline uint64_t play_tag(uint64_t page)
{
	return 0x7075000000000000u | (page + 1);
}

static inline size_t play_memory(uint64_t keep, uint64_t twins)
{
	return (3 * keep + twins) * sizeof(uint32_t);
}

/* @memory is zeroed; the other members are the caller's to set, before. */
static inline void play_init(struct play *p, void *memory)
{
	p->seen = memory;
	p->own = p->seen + p->keep;
	p->pair = p->own + p->keep;
	p->twin = p->pair + p->keep;
}

static inline void play_version(struct play *p, uint64_t page)
{
	uint32_t floor = __atomic_load_n(&p->floor[page], __ATOMIC_ACQUIRE);
	uint32_t least = floor > p->seen[page] ? floor : p->seen[page];
	uint64_t body[PLAY_BODIES], version, tag, tail;

	version = p->ops->load(p->ctx, page, PLAY_VERSION);
	tag = p->ops->load(p->ctx, page, PLAY_TAG);
	for (unsigned i = 0; i < PLAY_BODIES; i++)
		body[i] = p->ops->load(p->ctx, page, PLAY_BODY + PLAY_BODY_STEP * i);
	tail = p->ops->load(p->ctx, page, PLAY_TAIL);
	if (version && tag != play_tag(page))
		p->ops->wrong(p->ctx, PLAY_FOREIGN, page, tag, play_tag(page));
	else if (version < least)
		p->ops->wrong(p->ctx, PLAY_STALE, page, version, least);
	else if (version > tail)
		p->ops->wrong(p->ctx, PLAY_TORN, page, tail, version);
	for (unsigned i = 0; i < PLAY_BODIES && version == tail; i++)
		if (body[i] != play_mix(page, version, i)) {
			p->ops->wrong(p->ctx, PLAY_TORN, page, body[i], play_mix(page, version, i));
			break;
		}
	p->seen[page] = (uint32_t)version;
}

static inline void play_write_version(struct play *p, uint64_t page)
{
	uint32_t version = p->floor[page] + 1;

	p->ops->store(p->ctx, page, PLAY_TAIL, version);
	p->ops->store(p->ctx, page, PLAY_TAG, play_tag(page));
	for (unsigned i = 0; i < PLAY_BODIES; i++)
		p->ops->store(p->ctx, page, PLAY_BODY + PLAY_BODY_STEP * i,
			      play_mix(page, version, i));
	p->ops->store(p->ctx, page, PLAY_VERSION, version);
	__atomic_store_n(&p->floor[page], version, __ATOMIC_RELEASE);
}

static inline void play_own(struct play *p, uint64_t page)
{
	uint64_t found = p->ops->load(p->ctx, page, PLAY_OWN + p->id);

	if (found != p->own[page])
		p->ops->wrong(p->ctx, PLAY_LOST, page, found, p->own[page]);
	if (p->quiet)
		return;
	p->ops->store(p->ctx, page, PLAY_OWN + p->id, ++p->own[page]);
	found = p->ops->load(p->ctx, page, PLAY_OWN + p->id);
	if (found != p->own[page])
		p->ops->wrong(p->ctx, PLAY_LOST, page, found, p->own[page]);
}

static inline void play_order(struct play *p, uint64_t page)
{
	uint64_t b = p->ops->load(p->ctx, (page + p->keep / 2) % p->keep, PLAY_B);
	uint64_t a = p->ops->load(p->ctx, page, PLAY_A);

	if (a < b)
		p->ops->wrong(p->ctx, PLAY_ORDER, page, a, b);
}

static inline void play_write_order(struct play *p, uint64_t page)
{
	p->ops->store(p->ctx, page, PLAY_A, ++p->pair[page]);
	p->ops->store(p->ctx, (page + p->keep / 2) % p->keep, PLAY_B, p->pair[page]);
}

/* Of a page of others only that it is one of the contents, word by word: it may be changing. */
static inline bool play_is_twin(uint64_t value, unsigned part)
{
	for (unsigned i = 0; i < PLAY_TWINS; i++)
		if (value == play_mix(0, i, part))
			return true;
	return false;
}

static inline void play_twin(struct play *p, uint64_t twin)
{
	bool mine = twin % p->players == p->id;
	uint64_t page = p->keep + twin;

	for (unsigned i = 0; i < PLAY_BODIES; i++) {
		uint64_t value = p->ops->load(p->ctx, page, PLAY_TWIN_STEP * i);

		if (mine ? value != play_mix(0, p->twin[twin], i) : !play_is_twin(value, i)) {
			p->ops->wrong(p->ctx, PLAY_MERGED, page, value,
				      mine ? play_mix(0, p->twin[twin], i) : 0);
			return;
		}
	}
	if (!mine || p->quiet || play_random(&p->random) % 4)
		return;
	p->twin[twin] = (uint32_t)(play_random(&p->random) % PLAY_TWINS);
	for (unsigned i = 0; i < PLAY_BODIES; i++)
		p->ops->store(p->ctx, page, PLAY_TWIN_STEP * i, play_mix(0, p->twin[twin], i));
}

/* Mostly among few pages, where all meet; now and then anywhere. */
static inline uint64_t play_pick(struct play *p, uint64_t pages)
{
	uint64_t r = play_random(&p->random), near = pages < 48 ? pages : 48;

	return r % 4 ? (r >> 8) % near * (pages / near) : (r >> 8) % pages;
}

/* The player's own page at or below @page; @page itself is not there for page < id. */
static inline uint64_t play_mine(const struct play *p, uint64_t page)
{
	uint64_t mine = page - page % p->players + p->id;

	return mine < p->keep ? mine : p->id;
}

static inline void play_step(struct play *p)
{
	uint64_t page = play_pick(p, p->keep);

	p->operations++;
	switch (play_random(&p->random) % 8) {
	case 0:
	case 1:
		if (!p->quiet) {
			p->ops->add(p->ctx, page, PLAY_COUNTER);
			p->adds++;
		}
		break;
	case 2:
		play_own(p, page);
		break;
	case 3:
		play_version(p, page);
		break;
	case 4:
		if (!p->quiet)
			play_write_version(p, play_mine(p, page));
		break;
	case 5:
		play_order(p, page);
		break;
	case 6:
		if (!p->quiet)
			play_write_order(p, play_mine(p, page));
		break;
	default:
		play_twin(p, play_pick(p, p->twins));
	}
}

#endif
