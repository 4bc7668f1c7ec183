import { hostname } from 'node:os';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Measured } from '../../protocol/report.ts';
import type { Log } from '../log.ts';
import type { Machine } from '../ports.ts';

const everyMs = 2_000;
/** Measurements between two looks at the store. */
const storeLookEvery = 5;
/** And at a GitLab that nobody here has asked anything: once a minute. */
const gitlabLookEvery = 30;

interface MeasuringOptions {
  machine: Machine;
  log: Pick<Log, 'warn'>;
  heard(measured: Measured): void;
  lookAtStore(): void;
  lookAtGitlab(): void;
}

/** What this machine has and what is free of it, measured every two seconds and whenever somebody wants to know. */
export class OwnMeasuring {
  readonly #options: MeasuringOptions;
  #timer: NodeJS.Timeout | null = null;
  #count = 0;
  #latest: Measured | null = null;

  constructor(options: MeasuringOptions) {
    this.#options = options;
  }

  /** Null until it was measured once. */
  get latest(): Measured | null {
    return this.#latest;
  }

  start(): void {
    // Nobody waits for the first measuring: who leads does not depend on it, and until then nothing is placed here.
    void this.now();
    this.#timer = setInterval(() => {
      void this.now();
      this.#count += 1;
      if (this.#count % storeLookEvery === 0) this.#options.lookAtStore();
      if (this.#count % gitlabLookEvery === 0) this.#options.lookAtGitlab();
    }, everyMs);
  }

  /** Never rejects: a machine that cannot be measured is as it was, and the log says why. */
  async now(): Promise<void> {
    const { machine, log, heard } = this.#options;
    try {
      this.#latest = await machine.measure();
      heard(this.#latest);
    } catch (error) {
      log.warn(`measuring ${hostname()} failed: ${sentenceOf(error)}`);
    }
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }
}
