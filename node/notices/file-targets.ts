import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { NoticeTarget } from '../../protocol/notices.ts';
import type { FileTarget } from '../settings/notify-file.ts';
import { checkTarget, type TargetWay } from './notice-target.ts';
import { mayBeOne, wayOf } from './same-targets.ts';

interface FileTargetOptions {
  self: string;
  files: readonly FileTarget[];
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  sealForVoters(text: string): string;
  /** Null: sealed for others. */
  unseal(sealed: string): string | null;
  /** Hex that only this machine can make of that text, the same each time. */
  mark(text: string): string;
  log: { info(sentence: string): void; warn(sentence: string): void };
}

/** One that the file names, as it would be told. */
interface Wish {
  kind: string;
  way: TargetWay;
  shown: string;
  name: string;
  formerName: string;
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
    const missing = files.find((file) => file.missing !== null);
    if (missing)
      this.#why(`the variable ${missing.missing} of ${missing.kind} is empty or not set where this agent runs`);
    const because = `autogit.yml of ${mine.nodes[self]?.name ?? self}`;
    const known = Object.entries(mine.notices?.targets ?? {});
    const said = files.filter((file) => file.missing === null).flatMap((file) => this.#wish(mine.mesh.id, file));
    const wanted = [...new Map(said.map((wish) => [wish.name, wish])).values()];
    const there = wanted.map((wish) => this.#isThereAs(known, wish));
    // Of whom a variable does not say the address any more nobody knows which it was: the file still names him.
    for (const [name, { file }] of known)
      if (missing === undefined && file === self && !there.includes(name))
        await change({ kind: 'notice-target', name, target: null, file: self, because });
    for (const { name, kind, shown, way } of wanted.filter((_, at) => there[at] === null)) {
      const target = { kind, shown, secret: this.#options.sealForVoters(JSON.stringify(way)) };
      const outcome = await change({ kind: 'notice-target', name, target, file: self, because });
      if (outcome.state === 'refused') this.#why(outcome.because);
      else if (outcome.state === 'done') log.info(`as autogit.yml has it, ${outcome.because}`);
    }
  }

  /** None where what the file says of that one is not enough: the others are told all the same. */
  #wish(mesh: string, file: FileTarget): Wish[] {
    const { kind, missing: _none, ...given } = file;
    try {
      const { way, shown } = checkTarget(kind, given, false);
      const words = wordsOf(mesh, file);
      const name = `file-${this.#options.mark(words).slice(0, nameDigits)}`;
      return [{ kind, way, shown, name, formerName: formerNameOf(words) }];
    } catch (error) {
      this.#why(sentenceOf(error));
      return [];
    }
  }

  /**
   * Under which name that one is told already, whoever's file says it; null: he is not. An earlier version knows the former name only, so
   * that one goes before the others, and of these the oldest: every machine then takes its own back. Who does not vote cannot read what
   * others have sealed, and knows its own by name.
   */
  #isThereAs(known: readonly [string, NoticeTarget][], { kind, way, shown, name, formerName }: Wish): string | null {
    const isSame = (target: NoticeTarget): boolean => {
      if (target.file === undefined || !mayBeOne(target, { kind, shown })) return false;
      return isDeepStrictEqual(wayOf(target, this.#options.unseal), way);
    };
    const [first] = known
      .filter(([one, target]) => one === name || one === formerName || isSame(target))
      .sort(
        ([a, { since: x }], [b, { since: y }]) =>
          rank(a, formerName) - rank(b, formerName) || x - y || (a < b ? -1 : 1),
      );
    return first?.[0] ?? null;
  }
}

const rank = (name: string, formerName: string): number => Number(name !== formerName);

/** hex digits of a name */
const nameDigits = 10;

const wordsOf = (mesh: string, { kind, url, secret, to, from }: FileTarget): string =>
  JSON.stringify([mesh, kind, url, secret, ...(to === undefined && from === undefined ? [] : [to, from])]);

/**
 * As earlier versions called it, on every machine the same. Whoever reads the ledger could try by it whether he has guessed the secret, so
 * nobody is called so anew.
 */
const formerNameOf = (words: string): string =>
  `file-${createHash('sha256').update(words).digest('hex').slice(0, nameDigits)}`;
