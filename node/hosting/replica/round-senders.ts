import type { NodeId } from '../../../protocol/ids.ts';
import { compareRounds, newestOf, type RoundName } from '../../../protocol/round-name.ts';
import type { CopyRules } from '../../../scheduler/hosting/copies/copy-rules.ts';
import type { Replica, Standby } from './replica-ports.ts';
import { RoundSender } from './round-sender.ts';
import { BulkBooks, type HeldRounds, hotBook } from './send-books.ts';

interface RoundSendersOptions {
  rules: CopyRules;
  hot: Replica;
  bulk: Replica;
  epoch: Pick<RoundName, 'era' | 'epoch'>;
  standby(node: NodeId): Standby;
  bootMs(): number;
  onChange(): void;
  onProblem(node: NodeId, words: string): void;
}

interface Pair {
  hot: RoundSender;
  bulk: RoundSender;
}

/** Those who bring the host's rounds to its standbys, two for each, and what is known of what each has. */
export class RoundSenders {
  readonly #options: RoundSendersOptions;
  readonly #pairs = new Map<NodeId, Pair>();
  readonly #held: HeldRounds = new Map();
  readonly bulkBooks = new BulkBooks();

  constructor(options: RoundSendersOptions) {
    this.#options = options;
  }

  /** To these, and to nobody else. */
  tend(wanted: ReadonlySet<NodeId>): void {
    for (const node of this.#pairs.keys()) if (!wanted.has(node)) void this.#end(node);
    for (const node of wanted) if (!this.#pairs.has(node)) this.#pairs.set(node, this.#begin(node));
  }

  /** There is a newer round of that part. */
  wake(part: keyof Pair): void {
    for (const pair of this.#pairs.values()) pair[part].wake();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#pairs.keys()].map((node) => this.#end(node)));
  }

  progressOf(node: NodeId): number | null {
    const pair = this.#pairs.get(node);
    return pair?.hot.progressBytes ?? pair?.bulk.progressBytes ?? null;
  }

  /** Who holds which rounds of the hot part. */
  holders(): [node: NodeId, rounds: readonly RoundName[]][] {
    return [...this.#held];
  }

  /** The newest round from `from` on that is on that machine's disk, with the bulk part that goes with it; null while none is. */
  arrived(node: NodeId, from: RoundName): RoundName | null {
    if (!this.bulkBooks.has(node, from)) return null;
    const held = (this.#held.get(node) ?? []).filter((one) => compareRounds(one, from) >= 0);
    return newestOf(held.map((name) => ({ name })))?.name ?? null;
  }

  #begin(node: NodeId): Pair {
    const { rules, hot, bulk, epoch, standby, bootMs, onChange } = this.#options;
    const onProblem = (words: string): void => this.#options.onProblem(node, words);
    const isPressed = (): boolean => rules.waiting.length > 0;
    const shared = { standby: standby(node), epoch, isPressed, onChange, onProblem };
    const pair = {
      hot: new RoundSender({ ...shared, replica: hot, book: hotBook(rules, node, bootMs, this.#held) }),
      bulk: new RoundSender({ ...shared, replica: bulk, book: this.bulkBooks.of(node) }),
    };
    pair.hot.start();
    pair.bulk.start();
    return pair;
  }

  async #end(node: NodeId): Promise<void> {
    const pair = this.#pairs.get(node);
    this.#pairs.delete(node);
    this.bulkBooks.forget(node);
    this.#held.delete(node);
    await Promise.all([pair?.hot.stop(), pair?.bulk.stop()]);
  }
}
