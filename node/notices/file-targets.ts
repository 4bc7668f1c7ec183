import { createHash } from 'node:crypto';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { FileTarget } from '../settings/notify-file.ts';
import { checkTarget } from './notice-target.ts';

interface FileTargetOptions {
  self: string;
  files: readonly FileTarget[];
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  sealForVoters(text: string): string;
  log: { info(sentence: string): void; warn(sentence: string): void };
}

const lookMs = 60_000;

/**
 * Keeps in the ledger what this machine's autogit.yml says of `health.notify`: the same in two files is told once, and what a file does
 * not say any more is taken back by the machine that had said it. A person's own word is not touched.
 */
export class FileTargets {
  readonly #options: FileTargetOptions;
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<void> | null = null;
  #saidWhy = '';

  constructor(options: FileTargetOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookMs);
    this.#timer.unref();
    void this.look();
  }

  async stop(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await this.#looking;
  }

  /** Never throws. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error: Error) => this.#why(error.message))
      .finally(() => {
        this.#looking = null;
      });
    return this.#looking;
  }

  /** Once each time it is another one. */
  #why(sentence: string): void {
    if (sentence === this.#saidWhy) return;
    this.#saidWhy = sentence;
    this.#options.log.warn(`health.notify of autogit.yml: ${sentence}`);
  }

  async #look(): Promise<void> {
    const { self, files, ledger, change, log } = this.#options;
    const mine = ledger();
    if (mine === null) return;
    const known = mine.notices?.targets ?? {};
    const wanted = new Map(
      files.filter(({ missing }) => missing === null).map((file) => [nameOf(mine.mesh.id, file), file]),
    );
    const missing = files.find((file) => file.missing !== null);
    if (missing)
      this.#why(`the variable ${missing.missing} of ${missing.kind} is empty or not set where this agent runs`);
    const because = `autogit.yml of ${mine.nodes[self]?.name ?? self}`;
    // Of whom a variable does not say the address any more nobody knows which it was: the file still names him.
    for (const [name, { file }] of Object.entries(known))
      if (missing === undefined && file === self && !wanted.has(name))
        await change({ kind: 'notice-target', name, target: null, file: self, because });
    for (const [name, { kind, missing: _none, ...given }] of wanted) {
      if (Object.hasOwn(known, name)) continue;
      const target = this.#sealed(kind, given);
      if (target === null) continue;
      const outcome = await change({ kind: 'notice-target', name, target, file: self, because });
      if (outcome.state === 'refused') this.#why(outcome.because);
      else if (outcome.state === 'done') log.info(`as autogit.yml has it, ${outcome.because}`);
    }
  }

  /** Null where what the file says of that one is not enough: the others are told all the same. */
  #sealed(kind: string, given: Omit<FileTarget, 'kind' | 'missing'>) {
    try {
      const { way, shown } = checkTarget(kind, given, false);
      return { kind, shown, secret: this.#options.sealForVoters(JSON.stringify(way)) };
    } catch (error) {
      this.#why((error as Error).message);
      return null;
    }
  }
}

/** The same for the same address and secret, whichever machine's file has it; it tells nothing of either. */
const nameOf = (mesh: string, { kind, url, secret, to, from }: FileTarget): string =>
  `file-${createHash('sha256')
    .update(JSON.stringify([mesh, kind, url, secret, ...(to === undefined && from === undefined ? [] : [to, from])]))
    .digest('hex')
    .slice(0, 10)}`;
