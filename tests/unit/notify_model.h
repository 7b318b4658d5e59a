/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the notifier core must do, in the fewest words: arrays, no threads, no lists, no tree.
 * Owns the expected state of one mm and the expected callbacks of one operation. Who may call:
 * notify_model.c, which does the same to the library and compares. May not know: the library.
 */
#ifndef UMBRA_TESTS_UNIT_NOTIFY_MODEL_H
#define UMBRA_TESTS_UNIT_NOTIFY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum { M_SUBS = 20, M_LIST = 8, M_RANGES = 5, M_EVENTS = 128 };

/* A callback that was called; @a and @b are its arguments, as far as they are told apart. */
struct m_event {
	enum { M_HIT, M_START, M_END, M_RELEASE, M_CHANGE, M_TLB, M_YOUNG, M_FREE } kind;
	unsigned id;
	uint64_t a, b;
};

struct m_log {
	struct m_event event[M_EVENTS];
	unsigned n;
};

static inline void m_say(struct m_log *log, int kind, unsigned id, uint64_t a, uint64_t b)
{
	if (log->n < M_EVENTS)
		log->event[log->n] = (struct m_event){ kind, id, a, b };
	log->n++;
}

enum m_mood { M_WILLING, M_MOODY, M_BROKEN }; /* refuses: never; what may not block; everything */

struct m_sub { /* an interval subscription */
	enum { M_OUT, M_INSERTING, M_IN, M_REMOVING } where;
	uint64_t start, end, seq;
	enum m_mood mood;
	unsigned age; /* order of arrival in the tree */
};

struct m_note { /* a list notifier */
	bool is_listed, is_released;
	bool has_start, has_end, has_change, has_tlb, has_young, has_get;
	enum m_mood mood;
	bool young;
	unsigned users;
	unsigned age;
};

struct m_range {
	bool is_open, is_tracked;
	uint64_t start, end;
	bool blockable;
};

struct model {
	uint64_t seq, active, misuses;
	bool is_tracked, is_dead;
	struct m_sub sub[M_SUBS];
	struct m_note note[M_LIST];
	struct m_range range[M_RANGES];
	unsigned deferred[M_SUBS], deferred_n;
	unsigned dying[M_LIST], dying_n;
	unsigned clock;
	struct m_log log;
};

static inline bool m_frozen(const struct model *m)
{
	return m->seq % 2;
}

static inline bool m_in_tree(const struct m_sub *s)
{
	return s->where == M_IN || s->where == M_REMOVING;
}

/* ---- Interval subscriptions ---- */

static inline void m_insert(struct model *m, unsigned id, uint64_t start, uint64_t end)
{
	struct m_sub *s = &m->sub[id];

	m->is_tracked = true;
	s->start = start;
	s->end = end;
	if (m_frozen(m)) {
		s->where = M_INSERTING;
		m->deferred[m->deferred_n++] = id;
		s->seq = m->seq;
		return;
	}
	s->where = M_IN;
	s->age = m->clock++;
	if (m->active)
		s->seq = m->seq = m->seq + 1;
	else
		s->seq = m->seq - 1;
}

/* True: done. False: waits until the tree thaws. */
static inline bool m_remove(struct model *m, unsigned id)
{
	struct m_sub *s = &m->sub[id];
	unsigned n = 0;

	if (m_frozen(m) && s->where == M_IN) {
		s->where = M_REMOVING;
		m->deferred[m->deferred_n++] = id;
		return false;
	}
	for (unsigned i = 0; i < m->deferred_n; i++)
		if (m->deferred[i] != id)
			m->deferred[n++] = m->deferred[i];
	m->deferred_n = n;
	s->where = M_OUT;
	return true;
}

static inline void m_thaw(struct model *m)
{
	m->seq++;
	for (unsigned i = 0; i < m->deferred_n; i++) {
		struct m_sub *s = &m->sub[m->deferred[i]];

		s->age = m->clock++;
		s->where = s->where == M_INSERTING ? M_IN : M_OUT;
	}
	m->deferred_n = 0;
}

/* The hit that comes after (start, age), or M_SUBS. */
static inline unsigned m_next_hit(const struct model *m, const struct m_range *r,
				  const struct m_sub *after)
{
	unsigned best = M_SUBS;

	for (unsigned i = 0; i < M_SUBS; i++) {
		const struct m_sub *s = &m->sub[i], *b = &m->sub[best];

		if (!m_in_tree(s) || s->start >= r->end || s->end <= r->start)
			continue;
		if (after &&
		    (s->start < after->start || (s->start == after->start && s->age <= after->age)))
			continue;
		if (best == M_SUBS || s->start < b->start ||
		    (s->start == b->start && s->age < b->age))
			best = i;
	}
	return best;
}

static inline void m_tree_end(struct model *m)
{
	if (!--m->active && m_frozen(m))
		m_thaw(m);
}

static inline bool m_tree_start(struct model *m, const struct m_range *r)
{
	unsigned id = m_next_hit(m, r, 0);

	m->active++;
	if (id < M_SUBS)
		m->seq |= 1;
	for (; id < M_SUBS; id = m_next_hit(m, r, &m->sub[id])) {
		struct m_sub *s = &m->sub[id];
		bool refuses = s->mood == M_BROKEN || (s->mood == M_MOODY && !r->blockable);

		m_say(&m->log, M_HIT, id, r->start, m->seq);
		if (!refuses) {
			s->seq = m->seq;
		} else if (r->blockable) {
			m->misuses++;
		} else {
			m_tree_end(m);
			return false;
		}
	}
	return true;
}

/* ---- The list, newest first ---- */

/* The listed one before which @age came, or M_LIST. Begin with UINT32_MAX. */
static inline unsigned m_next_note(const struct model *m, unsigned age)
{
	unsigned best = M_LIST;

	for (unsigned i = 0; i < M_LIST; i++)
		if (m->note[i].is_listed && m->note[i].age < age &&
		    (best == M_LIST || m->note[i].age > m->note[best].age))
			best = i;
	return best;
}

#define m_for_each_note(m, id)                                          \
	for (unsigned id = m_next_note((m), UINT32_MAX); (id) < M_LIST; \
	     id = m_next_note((m), (m)->note[id].age))

static inline void m_list_end(struct model *m, const struct m_range *r)
{
	m_for_each_note(m, id) if (m->note[id].has_end) m_say(&m->log, M_END, id, r->start, r->end);
}

static inline bool m_list_start(struct model *m, const struct m_range *r)
{
	bool ok = true;

	m_for_each_note(m, id)
	{
		if (!m->note[id].has_start)
			continue;
		m_say(&m->log, M_START, id, r->start, r->end);
		if (m->note[id].mood == M_BROKEN && r->blockable)
			m->misuses++;
		if (m->note[id].mood != M_WILLING && !r->blockable)
			ok = false;
	}
	return ok;
}

/* ---- Brackets ---- */

static inline bool m_start(struct model *m, struct m_range *r)
{
	r->is_tracked = m->is_tracked;
	if (r->is_tracked && !m_tree_start(m, r))
		return false;
	r->is_open = m_list_start(m, r);
	if (r->is_open)
		return true;
	if (r->is_tracked)
		m_tree_end(m);
	m_list_end(m, r);
	return false;
}

static inline void m_end(struct model *m, struct m_range *r)
{
	r->is_open = false;
	if (r->is_tracked)
		m_tree_end(m);
	m_list_end(m, r);
}

static inline unsigned m_outstanding(const struct model *m, uint64_t addr)
{
	unsigned n = 0;

	for (unsigned i = 0; i < M_RANGES; i++)
		n += m->range[i].is_open && m->range[i].is_tracked && m->range[i].start <= addr &&
		     addr < m->range[i].end;
	return n;
}

/* ---- Subscribing ---- */

static inline bool m_register(struct model *m, unsigned id)
{
	struct m_note *n = &m->note[id];

	if (m->is_dead)
		return false;
	n->is_listed = true;
	n->is_released = false;
	n->users = n->has_get;
	n->age = m->clock++;
	m->is_tracked |= n->has_change;
	return true;
}

static inline void m_free_dying(struct model *m)
{
	while (m->dying_n)
		m_say(&m->log, M_FREE, m->dying[--m->dying_n], 0, 0);
}

static inline void m_unregister(struct model *m, unsigned id)
{
	if (!m->note[id].is_released)
		m_say(&m->log, M_RELEASE, id, 0, 0);
	m->note[id].is_listed = false;
	m_free_dying(m);
}

static inline void m_put(struct model *m, unsigned id)
{
	if (--m->note[id].users)
		return;
	m->note[id].is_listed = false;
	m->dying[m->dying_n++] = id;
}

static inline void m_release(struct model *m)
{
	struct m_range all = { .start = 0, .end = UINT64_MAX, .blockable = true };

	m->is_dead = true;
	if (m->is_tracked) {
		m_tree_start(m, &all);
		m_tree_end(m);
	}
	m_for_each_note(m, id)
	{
		m_say(&m->log, M_RELEASE, id, 0, 0);
		m->note[id].is_released = true;
	}
	for (unsigned i = 0; i < M_LIST; i++)
		m->note[i].is_listed = false;
	m_free_dying(m);
}

#endif
