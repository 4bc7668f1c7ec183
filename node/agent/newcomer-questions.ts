import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, OpenApproval } from '../../protocol/ledger.ts';
import { shown } from '../foreign-text.ts';
import type { Progress } from '../progress-lines.ts';

/** Nobody reads a name and four words faster: what is typed sooner was meant for what stood there before. */
const readMs = 600;

/** For the newcomer's own screen: what is to be compared, and typed, on lines of their own: whole on a terminal of any width. */
export const wordsToCompare = (name: string, words: string): string =>
  `compare the words\n    ${words}\nand type on any machine of the mesh:\n    autogit-node approve ${name} --words ${words}`;

interface NewcomerQuestionsOptions {
  lines: Progress;
  /** Asks the person at the terminal; null: nobody is there, newcomers are only announced. */
  confirm: ((question: string, signal: AbortSignal) => Promise<boolean>) | null;
  change(change: Change): Promise<ChangeOutcome>;
  /** This machine's name: who approved, for people. */
  by: string;
  /** Monotonic ms. */
  now(): number;
}

interface Question {
  node: NodeId;
  words: string;
  name: string;
  withdrawn: AbortController;
}

/**
 * On an approved node with somebody at its terminal, newcomers are asked about on the spot: one question at a time, and
 * one answer answers that question only. Life of a question: its words come into the ledger -> it stands in the queue ->
 * it is asked, name, address and words in the question itself -> answered here, or withdrawn because it was answered
 * elsewhere, is over, or its words are other ones now. Call `onLedger` with every committed ledger.
 */
export class NewcomerQuestions {
  readonly #options: NewcomerQuestionsOptions;
  /** Words that were announced; a newcomer that knocks again shows others. */
  #announced = new Set<string>();
  #queue: NodeId[] = [];
  #ledger: Ledger | null = null;
  #openQuestion: Question | null = null;
  #isBusy = false;
  #isNobodyHere: boolean;

  constructor(options: NewcomerQuestionsOptions) {
    this.#options = options;
    this.#isNobodyHere = options.confirm === null;
  }

  onLedger(ledger: Ledger): void {
    this.#ledger = ledger;
    this.#withdrawStale();
    const waiting = Object.entries(ledger.approvals).filter(([, { ignored }]) => !ignored);
    const current = new Set(waiting.map(([, { words }]) => words));
    this.#announced = new Set([...this.#announced].filter((words) => current.has(words)));
    for (const [node, approval] of waiting) {
      if (this.#announced.has(approval.words)) continue;
      this.#announced.add(approval.words);
      // In the middle of a question it would only be in the way: its own question says the same.
      if (this.#openQuestion === null)
        this.#options.lines.wait(
          'newcomer',
          `${described(approval)} asks to be let in; it must show   ${approval.words}`,
        );
      if (!this.#queue.includes(node)) this.#queue.push(node);
    }
    void this.#askQueued();
  }

  close(): void {
    this.#isNobodyHere = true;
    this.#openQuestion?.withdrawn.abort();
  }

  /** What waits under this id now; undefined when nobody needs to be asked about it any more. */
  #waiting(node: NodeId): OpenApproval | undefined {
    const approvals = this.#ledger?.approvals ?? {};
    const approval = Object.hasOwn(approvals, node) ? approvals[node] : undefined;
    return approval?.ignored ? undefined : approval;
  }

  #withdrawStale(): void {
    const open = this.#openQuestion;
    if (open && this.#waiting(open.node)?.words !== open.words) open.withdrawn.abort();
  }

  async #askQueued(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    try {
      while (!this.#isNobodyHere) {
        const node = this.#queue.shift();
        if (node === undefined) return;
        const approval = this.#waiting(node);
        if (approval) await this.#askAndDecide(node, approval);
      }
    } finally {
      this.#isBusy = false;
    }
  }

  async #askAndDecide(node: NodeId, approval: OpenApproval): Promise<void> {
    const { words, name } = approval;
    const { lines, change, by } = this.#options;
    const question = { node, words, name, withdrawn: new AbortController() };
    this.#openQuestion = question;
    try {
      const isSame = await this.#ask(approval, question.withdrawn.signal);
      // Between the answer and here the newcomer may have gone.
      if (question.withdrawn.signal.aborted) return this.#sayWithdrawn(question);
      if (!isSame) return lines.say(`left waiting; to turn it away: autogit-node ignore ${name}`);
      this.#openQuestion = null;
      const outcome = await change({ kind: 'approve', node, words, because: `by ${by}` });
      if (outcome.state === 'done') lines.ok('approved', shown(outcome.because));
      else lines.warn('approval', shown(outcome.because));
    } catch (error) {
      if (question.withdrawn.signal.aborted) return this.#sayWithdrawn(question);
      // The terminal is gone, or Ctrl-C ends the agent: nobody is there to be asked.
      this.#isNobodyHere = true;
      lines.warn('approval', shown(sentenceOf(error)));
    } finally {
      this.#openQuestion = null;
    }
  }

  /** A yes that comes before anybody can have read the words is none: it is asked again. */
  async #ask(approval: OpenApproval, signal: AbortSignal): Promise<boolean> {
    const { confirm, now, lines } = this.#options;
    const text = `Does ${described(approval)} show   ${approval.words} ?`;
    for (;;) {
      const askedAt = now();
      const isSame = (await confirm?.(text, signal)) ?? false;
      if (!isSame || signal.aborted || now() - askedAt >= readMs) return isSame;
      lines.say('that was typed before these words could be read: once more');
    }
  }

  #sayWithdrawn({ node, name, words }: Question): void {
    const { lines } = this.#options;
    if (this.#isNobodyHere) return;
    const approval = this.#ledger?.approvals[node];
    const member = this.#ledger?.nodes[node];
    // The cursor stands behind the question.
    lines.say('');
    if (member)
      lines.ok('approved', `${name} is in the mesh already: approved from another terminal (${shown(member.because)})`);
    else if (approval?.ignored) lines.ok('ignored', `${name} was ignored from another terminal`);
    else if (approval && approval.words !== words)
      lines.wait('newcomer', `${name} knocked again and shows other words now`);
    else lines.ok('newcomer', `${name} waits no more`);
  }
}

const described = ({ name, address }: OpenApproval): string => `${name} (${shown(address)})`;
