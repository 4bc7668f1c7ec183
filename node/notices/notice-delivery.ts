import { once } from 'node:events';
import { sentenceOf } from '../../protocol/errors.ts';
import { own } from '../../protocol/ids.ts';
import type { LedgerNotices, Notice, NoticeMemory, OutNotice } from '../../protocol/notices.ts';
import { waitAfter } from '../../scheduler/notices/delivery-plan.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { type SendContext, type Sender, SendFailure } from './notice-sender.ts';
import { hasBeats, TargetWay } from './notice-target.ts';
import { toldAsAnother } from './same-targets.ts';

interface DeliveryOptions {
  /** Null: sealed for others. */
  unseal(sealed: string): string | null;
  senderOf(kind: string): Sender;
  context(): Omit<SendContext, 'signal'>;
  /** Monotonic ms. */
  now(): number;
  wallMs(): number;
  /** Something was delivered, or could not be: the ledger is to know. */
  onNews(): void;
}

const noticeIn = ({ to: _to, ...notice }: OutNotice): Notice => notice;

interface Way {
  /** Of the target that it is for: one that was named anew is tried at once, and nothing of before is held against it. */
  since: number;
  isBusy: boolean;
  /** When it is told next that the mesh is there, where it is one of those. */
  beatAt: number;
  /** Wall ms: since when it is known to be told; null: it is not. */
  heardAt: number | null;
  /** What kept it from being told is over. */
  hasEnded: boolean;
  failures: number;
  notBefore: number;
  /** Wall ms and why, since it could not be told. */
  failing: { since: number; because: string } | null;
}

/**
 * Sends what waits: for each that is told one worker, one notice at a time, the oldest first, each try with a deadline. Who does not
 * answer holds up nobody else and is asked ever more seldom. What was delivered is kept here until the ledger has it.
 */
export class NoticeDelivery {
  readonly #options: DeliveryOptions;
  readonly #ways = new Map<string, Way>();
  /** By notice and name: `id name`. */
  readonly #done = new Set<string>();
  readonly #end = new AbortController();

  constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** Begins what is due; returns at once. */
  kick({ targets, memory }: LedgerNotices): void {
    for (const name of this.#ways.keys()) if (!Object.hasOwn(targets, name)) this.#ways.delete(name);
    const others = toldAsAnother(targets, this.#options.unseal);
    for (const [name, target] of Object.entries(targets)) {
      const waiting = (memory?.out ?? []).filter((notice) => this.#isFor(notice, name));
      const way = this.#wayOf(name, target.since);
      const other = others.get(name);
      if (other !== undefined) {
        for (const notice of waiting) if (!this.#isFor(notice, other)) this.#done.add(`${notice.id} ${name}`);
        way.heardAt = this.#ways.get(other)?.heardAt ?? null;
        continue;
      }
      const isBeat = hasBeats(target.kind) && this.#options.now() >= way.beatAt;
      if ((waiting.length === 0 && !isBeat) || way.isBusy || this.#options.now() < way.notBefore) continue;
      way.isBusy = true;
      void this.#sendAll(name, target, isBeat ? [null, ...waiting] : waiting, way).finally(() => {
        way.isBusy = false;
        // A beat that came as ever is no news.
        if (waiting.length > 0 || way.failing !== null || way.hasEnded) this.#options.onNews();
      });
    }
  }

  /** One notice to one that is told, now; for `notify test`. Throws `SendFailure`. */
  async send(target: LedgerNotices['targets'][string], notice: Notice | null): Promise<void> {
    const { unseal, senderOf, context } = this.#options;
    const text = unseal(target.secret);
    if (text === null) throw new SendFailure('this machine does not vote, and only those who do know its address');
    const way = TargetWay.safeParse(JSON.parse(text));
    if (!way.success) throw new SendFailure('the version that leads does not know all that is said of it');
    // A deadline of our own: whatever a sender waits for, nobody waits longer for it.
    const deadline = new AbortController();
    const end = (): void => deadline.abort();
    const timer = setTimeout(end, noticeTimings.sendMs);
    this.#end.signal.addEventListener('abort', end, { once: true });
    const late = once(deadline.signal, 'abort').then(() => {
      throw new SendFailure('no answer in time');
    });
    late.catch(() => {});
    try {
      await Promise.race([late, senderOf(target.kind)(notice, way.data, { ...context(), signal: deadline.signal })]);
    } finally {
      clearTimeout(timer);
      this.#end.signal.removeEventListener('abort', end);
    }
  }

  async #sendAll(
    name: string,
    target: LedgerNotices['targets'][string],
    waiting: readonly (OutNotice | null)[],
    way: Way,
  ): Promise<void> {
    for (const one of waiting) {
      try {
        await this.send(target, one === null ? null : noticeIn(one));
        if (one === null) way.beatAt = this.#options.now() + noticeTimings.beatMs;
        else this.#done.add(`${one.id} ${name}`);
        way.hasEnded = way.failing !== null;
        way.heardAt ??= this.#options.wallMs();
        way.failures = 0;
        way.failing = null;
      } catch (error) {
        if (this.#end.signal.aborted) return;
        way.failures += 1;
        const asked = error instanceof SendFailure ? error.afterMs : null;
        way.notBefore = this.#options.now() + waitAfter(way.failures, asked);
        way.failing = {
          since: way.failing?.since ?? this.#options.wallMs(),
          because: sentenceOf(error).slice(0, 200),
        };
        return;
      }
    }
  }

  #isFor = ({ id, to }: OutNotice, name: string): boolean => to.includes(name) && !this.#done.has(`${id} ${name}`);

  #wayOf(name: string, since: number): Way {
    const known = this.#ways.get(name);
    if (known?.since === since) return known;
    const never = Number.NEGATIVE_INFINITY;
    const way = {
      since,
      isBusy: false,
      beatAt: never,
      heardAt: null,
      hasEnded: false,
      failures: 0,
      notBefore: never,
      failing: null,
    };
    this.#ways.set(name, way);
    return way;
  }

  /** What the ledger's memory is with what was done since; the same object where that is nothing new. */
  merged(memory: NoticeMemory): NoticeMemory {
    const ids = new Set(memory.out.map(({ id }) => id));
    for (const done of this.#done) if (!ids.has(done.slice(0, done.indexOf(' ')))) this.#done.delete(done);
    const out = memory.out
      .map((notice) => ({ ...notice, to: notice.to.filter((name) => !this.#done.has(`${notice.id} ${name}`)) }))
      .filter(({ to }) => to.length > 0);
    const isSent = JSON.stringify(out) !== JSON.stringify(memory.out);
    const failing = this.#failing(memory);
    const heard = this.#heard(memory);
    const isOther = JSON.stringify([failing, heard]) !== JSON.stringify([memory.failing, memory.heard ?? {}]);
    if (!isSent && !isOther) return memory;
    return { ...memory, version: memory.version + 1, out: isSent ? out : memory.out, failing, heard };
  }

  /** Who could not be told again and again, until it can. Of whom this leader has not tried, what the one before said stays. */
  #failing(memory: NoticeMemory): NoticeMemory['failing'] {
    const failing = { ...memory.failing };
    for (const [name, way] of this.#ways) {
      if (way.failing === null && way.heardAt !== null) delete failing[name];
      if (way.failing !== null && way.failures >= noticeTimings.failingAfter)
        failing[name] = own(failing, name) ?? { ...way.failing };
    }
    return failing;
  }

  /** Whom anything has reached: written down once, and again where its address became another one. */
  #heard(memory: NoticeMemory): NonNullable<NoticeMemory['heard']> {
    const heard = { ...memory.heard };
    for (const [name, { heardAt }] of this.#ways) if (heardAt !== null) heard[name] = own(heard, name) ?? heardAt;
    return heard;
  }

  stop(): void {
    this.#end.abort();
  }
}
