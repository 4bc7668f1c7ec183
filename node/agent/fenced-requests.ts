import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Comparison } from '../../protocol/differences.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { FencedName } from '../../protocol/fenced.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { FencedThere } from '../../scheduler/snapshot-fenced.ts';
import { askMember } from './asked-member.ts';

interface FencedLines {
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  /** What machines say that they keep. */
  fenced(): FencedThere[];
}

/** It compares, or deletes, as long as a disk takes for it. */
const askMs = 55_000;

/** What a person asks of what a machine served until another one took over: at any machine, done by the one that keeps it. */
export class FencedRequests {
  readonly #lines: FencedLines;

  constructor(lines: FencedLines) {
    this.#lines = lines;
  }

  async compare(name: FencedName, from: number): Promise<Comparison> {
    const answer = await this.#ask(name, { kind: 'compare-fenced', with: name, from });
    if (answer.kind !== 'compared') throw new AutogitError('unsupported', `it was answered with ${answer.kind}`);
    return answer;
  }

  bring = (name: FencedName, project: string): Promise<string> =>
    this.#said(name, { kind: 'bring-fenced', name, project });
  drop = (name: FencedName): Promise<string> => this.#said(name, { kind: 'drop-fenced', name });

  async #said(name: FencedName, ask: Ask): Promise<string> {
    const answer = await this.#ask(name, ask);
    return answer.kind === 'said' ? answer.because : 'it was asked for';
  }

  #ask(name: FencedName, ask: Ask): Promise<Answer> {
    const there = this.#lines.fenced().find(({ seen }) => seen.name === name);
    if (there === undefined)
      throw new AutogitError('backup', `no machine that was heard keeps ${name}`, {
        hint: 'which are kept, by machines that hold copies: autogit-node gitlab fenced',
      });
    return askMember(this.#lines, there.node, ask, askMs);
  }
}
