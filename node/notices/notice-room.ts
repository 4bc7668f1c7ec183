import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { KnownAct, type LedgerNotices, type NoticeAct, type NoticeMemory } from '../../protocol/notices.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { causesOf } from '../../scheduler/notices/causes.ts';
import { happenedIn } from '../../scheduler/notices/happened.ts';
import { type NoticeSight, noMemory, noSight, stepNotices } from '../../scheduler/notices/notice-steps.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { quietAt } from '../../scheduler/notices/quiet-hours.ts';
import type { Log } from '../log.ts';
import type { AddedPath } from '../page/page-types.ts';
import { type ActLink, ActLinks, actLabels } from './act-links.ts';
import { NoticeDelivery } from './notice-delivery.ts';
import { isBeatAlone } from './notice-target.ts';
import { senderOf } from './senders.ts';
import { minuteIn } from './zone-clock.ts';

export interface NoticesHere {
  ledger(): Ledger | null;
  /** True with fresh proof that this node leads. */
  leads(): boolean;
  status(): Promise<StatusSnapshot>;
  change(change: Change): Promise<ChangeOutcome>;
  /** Null: sealed for others. */
  unseal(sealed: string): string | null;
  /** The door at which links of notices are served. */
  page: { outside(): string | null; add(path: AddedPath): void };
  /** What a button does here; throws with the fix. */
  perform(act: KnownAct): Promise<string>;
  can(act: KnownAct): boolean;
  /** A link made by the machine that the act is about, where that is another one; null: it has none. May throw. */
  linkElsewhere(act: KnownAct & { act: 'resume-gpu' }): Promise<string | null>;
  log: Pick<Log, 'info' | 'warn' | 'event'>;
  wallMs(): number;
  /** How often it looks, where a test has no patience. */
  lookMs?: number;
}

/** After something was delivered: the ledger knows it so soon. */
const newsMs = 500;

/**
 * The leader's part of telling people: it looks what is wrong, writes into the ledger what it is about to say, says it, and writes down
 * who has heard it. Where it dies in between the next one says it again, with the same id. All of it stands beside the mesh's work: it
 * only reads, and what it writes is a small change of the ledger, a few an hour.
 */
export class NoticeRoom {
  readonly #here: NoticesHere;
  readonly #delivery: NoticeDelivery;
  readonly #links: ActLinks;
  #timer: NodeJS.Timeout | null = null;
  #soon: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;
  #found: StatusSnapshot | null = null;
  #sight: NoticeSight = noSight;
  #hasEnded = false;

  constructor(here: NoticesHere) {
    this.#here = here;
    this.#links = new ActLinks({ ...here, base: () => here.page.outside() });
    here.page.add(this.#links.path());
    this.#delivery = new NoticeDelivery({
      unseal: here.unseal,
      senderOf: (kind) => senderOf(kind, here.log),
      context: () => ({
        mesh: here.ledger()?.mesh ?? { id: '', name: '' },
        status: this.#found,
        linkOf: (act) => this.#linkOf(act),
      }),
      now: () => performance.now(),
      wallMs: here.wallMs,
      onNews: () => this.#lookSoon(),
    });
  }

  /** A button of this machine's own; null: nobody reaches its page, or it cannot do that. */
  ownLink(act: KnownAct): ActLink | null {
    return this.#links.linkOf(act);
  }

  /** A GPU is given back by its own machine alone: a link to that one is made there. A notice without a button is told all the same. */
  async #linkOf(asked: NoticeAct): Promise<ActLink | null> {
    const own = this.#links.linkOf(asked);
    const act = KnownAct.safeParse(asked).data;
    if (own !== null || act?.act !== 'resume-gpu') return own;
    const url = await this.#here.linkElsewhere(act).catch(() => null);
    return url === null ? null : { label: actLabels[act.act], url };
  }

  get delivery(): NoticeDelivery {
    return this.#delivery;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), this.#here.lookMs ?? noticeTimings.lookMs);
    this.#timer.unref();
    void this.look();
  }

  async stop(): Promise<void> {
    this.#hasEnded = true;
    if (this.#timer) clearInterval(this.#timer);
    if (this.#soon) clearTimeout(this.#soon);
    this.#delivery.stop();
    await this.#looking;
  }

  #lookSoon(): void {
    if (this.#soon !== null || this.#hasEnded) return;
    this.#soon = setTimeout(() => {
      this.#soon = null;
      void this.look();
    }, newsMs);
    this.#soon.unref();
  }

  /** One look; never throws. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error: Error) => this.#here.log.warn(`what is wrong could not be looked at: ${error.message}`))
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  async #look(): Promise<void> {
    const { leads, ledger } = this.#here;
    const notices = ledger()?.notices;
    if (this.#hasEnded || notices === undefined || !leads()) {
      // Another one looks meanwhile, and what was seen here is of another time.
      this.#sight = noSight;
      return;
    }
    const before = notices.memory ?? noMemory;
    const memory = await this.#stepped(this.#delivery.merged(before), notices);
    // Written down before it is said: whoever leads next says it with the same id, or knows that it was said.
    if (memory !== before && !(await this.#remember(notices, memory))) return;
    const now = ledger()?.notices;
    if (now !== undefined && leads() && !this.#hasEnded) this.#delivery.kick(now);
  }

  async #stepped(memory: NoticeMemory, notices: LedgerNotices): Promise<NoticeMemory> {
    const { wallMs, status } = this.#here;
    const ledger = this.#here.ledger();
    const found = await status();
    this.#found = found;
    const open = new Set(memory.open.filter(({ fixedAt }) => fixedAt === null).map(({ key }) => key));
    const { quiet } = notices;
    const at = wallMs();
    const stepped = stepNotices(memory, this.#sight, {
      wallMs: at,
      mesh: found.mesh,
      causes: causesOf(found, open, ledger === null ? [] : happenedIn(ledger, found, at)),
      quiet: quietAt(quiet, quiet === undefined ? 0 : minuteIn(quiet.zone, at)),
      targets: Object.keys(notices.targets).filter((name) => !isBeatAlone(notices.targets[name]?.kind ?? '')),
    });
    this.#sight = stepped.sight;
    return stepped.memory;
  }

  async #remember(notices: LedgerNotices, memory: NoticeMemory): Promise<boolean> {
    const from = notices.memory?.version ?? 0;
    const { state } = await this.#here.change({ kind: 'notices-told', from, memory });
    return state === 'done';
  }
}
