// SPDX-License-Identifier: BSD-2-Clause
/*
 * The notifier core beside its model (notify_model.h): random operations, every return value, every callback and its place in the
 * order, and the state after each. SEED and OPS in the environment choose another run; a failure names both.
 */
#include "tests/unit/notify_recorder.h"

#ifdef UMBRA_SANITIZED
#define OPS 100000
#else
#define OPS 2000000
#endif
#define OPS_PER_MM 3000
#define SPAN	   64 /* pages */

static uint64_t roll(uint64_t n)
{
	return rig_random(&seed) % n;
}

/* ---- Operations ---- */

static void op_insert(unsigned id)
{
	uint64_t start = roll(SPAN), length = 1 + roll(roll(3) ? 4 : SPAN);
	uint64_t wild = roll(64);
	int rc;

	if (wild == 0)
		length = 0;
	else if (wild == 1)
		length = UINT64_MAX;
	model.sub[id].mood = roll(6) ? M_WILLING : roll(4) ? M_MOODY : M_BROKEN;
	subs[id].id = id;
	rc = mmu_interval_notifier_insert(&subs[id].in, &mm, start + 1, length, &sub_ops);
	if (wild < 2) {
		same(rc, -EOVERFLOW);
	} else if (model.is_dead) {
		model.is_tracked = true;
		same(rc, -EINVAL);
	} else {
		same(rc, 0);
		m_insert(&model, id, start + 1, start + 1 + length);
	}
}

static void op_remove(unsigned id)
{
	struct helper *h = idle_helper();

	if (!h || subs[id].readers ||
	    (model.sub[id].where != M_IN && model.sub[id].where != M_INSERTING))
		return;
	if (m_remove(&model, id))
		call(H_REMOVE, &subs[id]);
	else
		wait_elsewhere(h, H_REMOVE, &subs[id]);
}

static void op_insert_or_remove(unsigned id)
{
	if (model.sub[id].where == M_OUT)
		op_insert(id);
	else
		op_remove(id);
}

static void op_begin(unsigned id)
{
	struct m_sub *s = &model.sub[id];
	struct helper *h = idle_helper();

	if (!h || subs[id].readers || (s->where != M_IN && s->where != M_INSERTING))
		return;
	if (s->seq == model.seq) {
		wait_elsewhere(h, H_BEGIN, &subs[id]);
		return;
	}
	call(H_BEGIN, &subs[id]);
	same(subs[id].seen, s->seq);
}

static void op_retry(unsigned id)
{
	struct m_sub *s = &model.sub[id];

	if (subs[id].readers || s->where == M_OUT)
		return;
	same(mmu_interval_check_retry(&subs[id].in, subs[id].seen), subs[id].seen != s->seq);
#ifndef UMBRA_DEBUG /* which wants it from the thread of begin */
	same(mmu_interval_read_retry(&subs[id].in, subs[id].seen), subs[id].seen != s->seq);
#endif
}

static void op_bracket(unsigned i)
{
	struct m_range *r = &model.range[i];

	if (r->is_open) {
		m_end(&model, r);
		mmu_notifier_invalidate_range_end(&ranges[i]);
		return;
	}
	r->start = 1 + roll(SPAN);
	r->end = r->start + 1 + roll(roll(4) ? 4 : SPAN);
	r->blockable = roll(3);
	mmu_notifier_range_init(&ranges[i], roll(2) ? MMU_NOTIFY_CHANGE : MMU_NOTIFY_CLEAR, &mm,
				r->start, r->end);
	ranges[i].flags = r->blockable ? MMU_NOTIFIER_RANGE_BLOCKABLE : 0;
	same(mmu_notifier_invalidate_range_start(&ranges[i]), m_start(&model, r) ? 0 : -EAGAIN);
}

static void op_subscribe(unsigned id)
{
	struct m_note *n = &model.note[id];
	struct mmu_notifier *mn = NULL;
	bool shared = n->has_get && n->users && n->is_listed, ok;
	int rc;

	if (notes[id] && !shared)
		return;
	if (n->has_get) {
		rc = mmu_notifier_get(&mn, &note_ops[id], &mm);
	} else {
		fixed[id] = (struct note){ .mn.ops = &note_ops[id], .id = id };
		mn = &fixed[id].mn;
		rc = mmu_notifier_register(mn, &mm);
	}
	ok = !model.is_dead;
	if (ok && shared)
		n->users++;
	else if (ok)
		m_register(&model, id);
	same(rc, ok ? 0 : -EINVAL);
	if (!ok)
		return;
	check(!shared || mn == &notes[id]->mn);
	notes[id] = (struct note *)mn;
}

static void op_leave(unsigned id)
{
	struct note *n = notes[id];

	if (!n)
		return;
	if (model.note[id].has_get) {
		m_put(&model, id);
		if (!model.note[id].users)
			notes[id] = NULL;
		mmu_notifier_put(&n->mn);
	} else {
		m_unregister(&model, id);
		notes[id] = NULL;
		mmu_notifier_unregister(&n->mn);
	}
}

/* What the primary says inside a CHANGE bracket, if one is open; and questions. */
static void op_tell(unsigned i)
{
	uint64_t addr = model.range[i].start;
	bool young = false;

	same(mmu_notifier_outstanding(&mm, addr), m_outstanding(&model, addr));
	if (model.range[i].is_open && ranges[i].event == MMU_NOTIFY_CHANGE) {
		m_for_each_note(&model, id)
		{
			if (model.note[id].has_change)
				m_say(&model.log, M_CHANGE, id, addr,
				      step << 1 | (m_outstanding(&model, addr) == 1));
			else if (model.note[id].has_tlb)
				m_say(&model.log, M_TLB, id, addr, addr + 4096);
		}
		mmu_notifier_change_pte(&mm, addr, step, false);
	}
	m_for_each_note(&model, id)
	{
		if (model.note[id].has_tlb)
			m_say(&model.log, M_TLB, id, addr, addr + 7);
	}
	mmu_notifier_arch_invalidate_secondary_tlbs(&mm, addr, addr + 7);
	m_for_each_note(&model, id)
	{
		if (!model.note[id].has_young)
			continue;
		model.note[id].young = roll(2);
		young |= model.note[id].young;
		m_say(&model.log, M_YOUNG, id, addr, addr + 1);
	}
	same(mmu_notifier_clear_young(&mm, addr, addr + 1), young);
}

static void one_operation(void)
{
	uint64_t kind = roll(1000);

	if (kind < 330)
		op_insert_or_remove(roll(M_SUBS));
	else if (kind < 480)
		op_begin(roll(M_SUBS));
	else if (kind < 580)
		op_retry(roll(M_SUBS));
	else if (kind < 900)
		op_bracket(roll(M_RANGES));
	else if (kind < 970)
		op_tell(roll(M_RANGES));
	else if (kind < 990)
		op_subscribe(roll(M_LIST));
	else if (kind < 999)
		op_leave(roll(M_LIST));
	else {
		m_free_dying(&model);
		mmu_notifier_synchronize(&mm);
	}
}

/* ---- Comparing ---- */

static void compare(uint64_t old_seq)
{
	const struct m_log *want = &model.log;

	if (old_seq % 2 && model.seq != old_seq)
		finish_helpers(); /* thawed: whoever waited goes on */
	same(got.n, want->n);
	for (unsigned i = 0; i < got.n; i++) {
		same(got.event[i].kind, want->event[i].kind);
		same(got.event[i].id, want->event[i].id);
		same(got.event[i].a, want->event[i].a);
		same(got.event[i].b, want->event[i].b);
	}
	same(mm.invalidate_seq, model.seq);
	same(mm.active, model.active);
	same(mmu_notifier_misuses(&mm), model.misuses);
	for (unsigned i = 0; i < M_SUBS; i++) {
		const struct m_sub *s = &model.sub[i];

		same(s->where == M_OUT || subs[i].in.is_in_tree == m_in_tree(s), true);
		same(s->where == M_OUT || subs[i].in.invalidate_seq == s->seq, true);
	}
	callbacks += got.n;
	got.n = model.log.n = 0;
}

static void begin_mm(void)
{
	static const uint64_t firsts[] = { 2, UINT64_MAX - 21, (1UL << 31) - 20, (1UL << 32) - 20 };

	model = (struct model){ .seq = firsts[roll(4)] };
	for (unsigned id = 0; id < M_LIST; id++) {
		const struct mmu_notifier_ops *ops = &note_ops[id];

		model.note[id] = (struct m_note){
			.has_start = ops->invalidate_range_start,
			.has_end = ops->invalidate_range_end,
			.has_change = ops->change_pte,
			.has_tlb = ops->arch_invalidate_secondary_tlbs,
			.has_young = ops->clear_young,
			.has_get = ops->alloc_notifier,
			.mood = id == 3		     ? M_BROKEN
				: id == 2 || id == 7 ? M_MOODY
						     : M_WILLING,
		};
	}
	mmu_notifier_subscriptions_init(&mm);
	mmu_notifier_subscriptions_set_seq(&mm, model.seq);
}

/* Everybody leaves, in the middle of things, and perhaps after the mm has died. */
static void end_mm(void)
{
	uint64_t seq = model.seq;

	if (roll(2)) {
		m_release(&model);
		mmu_notifier_release(&mm);
		compare(seq);
		for (unsigned i = 0; i < 200; i++) {
			seq = model.seq;
			one_operation();
			compare(seq);
		}
	}
	for (unsigned i = 0; i < M_RANGES; i++) {
		seq = model.seq;
		if (model.range[i].is_open)
			op_bracket(i);
		compare(seq);
	}
	for (unsigned i = 0; i < M_SUBS; i++)
		op_remove(i);
	for (unsigned i = 0; i < M_LIST; i++)
		while (notes[i])
			op_leave(i);
	m_free_dying(&model);
	mmu_notifier_synchronize(&mm);
	compare(model.seq);
	mmu_notifier_subscriptions_fini(&mm);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

UTEST(notify_model, random_operations, .timeout = 600)
{
	uint64_t ops = from_environment("OPS", OPS);

	first_seed = seed = from_environment("SEED", 1);
	for (unsigned i = 0; i < HELPERS; i++) {
		check(!sem_init(&helpers[i].go, 0, 0));
		helpers[i].thread = rig_thread(help, &helpers[i]);
	}
	for (step = 0; step < ops; step++) {
		uint64_t seq;

		if (step % OPS_PER_MM == 0)
			begin_mm();
		seq = model.seq;
		one_operation();
		compare(seq);
		if (step % OPS_PER_MM == OPS_PER_MM - 1 || step == ops - 1)
			end_mm();
	}
	if (getenv("V"))
		fprintf(stderr, "SEED=%lu OPS=%lu: %lu callbacks, %lu waits\n", first_seed, ops,
			callbacks, waits);
	for (unsigned i = 0; i < HELPERS; i++) {
		helpers[i].job = H_QUIT;
		sem_post(&helpers[i].go);
		rig_join(helpers[i].thread);
		sem_destroy(&helpers[i].go);
	}
}
