import type { NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { type Hosting, hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import type { ServiceHost } from '../service-host.ts';
import { withFix } from '../with-fix.ts';
import type { TargetSeen } from './move-ports.ts';

interface MoveTargetOptions {
  self: NodeId;
  clock: Pick<Clock, 'bootMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  host: ServiceHost;
}

/** A registry that gave no answer is asked again so often. */
const againMs = 15_000;

/**
 * The machine to which GitLab moves, while it runs elsewhere still: its image is here before the gate there is shut, or nobody
 * would be served while it is pulled.
 */
export class MoveTarget {
  readonly #options: MoveTargetOptions;
  readonly #stopped = new AbortController();
  #image: { name: string; given: AbortController; work: Promise<void> } | null = null;
  #seen: TargetSeen = { waits: 'it looks for the image', percent: null, fails: null };
  #notBefore = 0;

  constructor(options: MoveTargetOptions) {
    this.#options = options;
  }

  /** What is wished is begun, and what is not any more is given up. */
  ledgerChanged(): void {
    const wish = this.#wish();
    if (wish === null) {
      this.#image?.given.abort();
      this.#image = null;
    } else if (this.#image?.name !== wish.image) this.#begin(wish.image);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#image?.given.abort();
    await this.#image?.work;
  }

  /** To the host, which asks again and again. */
  seen({ data, epoch }: { data: string; epoch: number }): TargetSeen {
    const wish = this.#wish();
    if (wish === null || wish.data !== data || wish.epoch !== epoch)
      return { waits: 'it has not heard of the move yet', percent: null, fails: null };
    const hasFailed = this.#image === null && this.#options.clock.bootMs() >= this.#notBefore;
    if (hasFailed) this.#begin(wish.image);
    return this.#seen;
  }

  #wish(): Hosting | null {
    const hosting = hostingOf(this.#options.ledger());
    const { self } = this.#options;
    return hosting?.move?.to === self && hosting.host !== self && !hosting.ending ? hosting : null;
  }

  #begin(name: string): void {
    this.#image?.given.abort();
    const given = new AbortController();
    this.#seen = { waits: 'it looks for the image', percent: null, fails: null };
    const work = this.#have(name, AbortSignal.any([given.signal, this.#stopped.signal])).catch((error: unknown) => {
      if (given.signal.aborted || this.#stopped.signal.aborted) return;
      this.#image = null;
      this.#notBefore = this.#options.clock.bootMs() + againMs;
      this.#seen = { waits: `the image cannot be had yet: ${wordsOf(error)}`, percent: null, fails: null };
      this.#options.log.warn(`GitLab's image ${name} cannot be had yet: ${wordsOf(error)}`);
    });
    this.#image = { name, given, work };
  }

  async #have(name: string, signal: AbortSignal): Promise<void> {
    const { host } = this.#options;
    const onProgress = (done: number, total: number): void => {
      const percent = total === 0 ? null : Math.floor((done / total) * 100);
      this.#seen = { waits: `it pulls the image ${name}`, percent, fails: null };
    };
    const image = await host.image(name, { pull: true, onProgress, signal });
    const { arch } = await host.check();
    const isOfHere = image === null || image.arch === arch;
    const fails = isOfHere ? null : `image ${name} is for ${image.arch}, and this machine is ${arch}`;
    this.#seen = { waits: null, percent: null, fails };
  }
}

const wordsOf = (error: unknown): string => withFix(error).slice(0, 500);
