import { sentenceOf } from '../../protocol/errors.ts';

/** What stands behind the doors, as the keeper last saw it. */
export interface BehindGate {
  upstream: string | null;
  isServing: boolean;
  because: string;
  cgroup: string | null;
  /** GitLab's nginx wants to be told who the client is (PROXY protocol), and believes it. */
  tellsClient: boolean;
}

const keys = ['upstream', 'isServing', 'because', 'cgroup', 'tellsClient'] as const;

/** What is used of the GateKeeper. */
export interface LeaseGate {
  renew(lease: BehindGate & { epoch: number; until: number }): Promise<void>;
  close(epoch: number, because: string): Promise<void>;
  /** Its container is gone: gate and guard go. */
  end(): Promise<void>;
  problems(): string[];
}

/**
 * The lease of one epoch on its way from the core to the gate. It counts here only once guard, gate and watchdog go by it
 * (SAFETY H3); and it goes on only when the keeper has said what stands behind the doors: what an agent of before has told
 * the gate holds until then.
 */
export class LeaseAtGate {
  readonly epoch: number;
  readonly #gate: LeaseGate;
  readonly #onBegun: () => void;
  #behind: BehindGate | null = null;
  #until = 0;
  #isClosed = false;
  #hasClosed = false;
  #renewing: Promise<void> | null = null;
  /** Given while another one was on its way to the gate. */
  #waiting = 0;
  /** Why the newest renewal did not count. */
  problem: string | null = null;

  /** `onBegun`: one counts for the first time. */
  constructor(epoch: number, gate: LeaseGate, onBegun: () => void = () => undefined) {
    this.epoch = epoch;
    this.#gate = gate;
    this.#onBegun = onBegun;
  }

  /** ms of boot time until which its GitLab may run on this machine; 0: not at all. */
  get until(): number {
    return this.#isClosed ? 0 : this.#until;
  }

  /** The gate has read that it is over, and lets nobody in any more. */
  get isClosed(): boolean {
    return this.#hasClosed;
  }

  get isKnown(): boolean {
    return this.#behind !== null;
  }

  /** The core's word, twice a second. One at a time goes to the gate: none that it passed over counts. */
  hold(epoch: number, until: number): void {
    if (epoch !== this.epoch || this.#isClosed) return;
    this.#waiting = Math.max(this.#waiting, until);
    if (this.#behind === null) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
  }

  async #renew(): Promise<void> {
    while (this.#waiting > 0 && !this.#isClosed && this.#behind !== null) {
      const until = this.#waiting;
      this.#waiting = 0;
      try {
        await this.#gate.renew({ epoch: this.epoch, until, ...this.#behind });
        const isFirst = this.#until === 0;
        this.#until = Math.max(this.#until, until);
        this.problem = null;
        if (isFirst) this.#onBegun();
      } catch (error) {
        this.problem = sentenceOf(error);
      }
    }
  }

  /** What changed behind the doors reaches the gate at once, within the lease that it has. */
  tell(behind: BehindGate): void {
    const isSame = this.#behind !== null && keys.every((key) => this.#behind?.[key] === behind[key]);
    this.#behind = behind;
    // Also one that came before it was known what stands there: the core's next word is half a second away.
    if (!isSame && (this.until > 0 || this.#waiting > 0)) this.hold(this.epoch, this.until);
  }

  /** For good. Resolves when the gate has read it: then nothing passes any more. */
  async close(because: string): Promise<void> {
    this.#isClosed = true;
    await this.#gate.close(this.epoch, because);
    this.#hasClosed = true;
  }

  end(): Promise<void> {
    return this.#gate.end();
  }

  problems(): string[] {
    return this.#gate.problems();
  }
}
