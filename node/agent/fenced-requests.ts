import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Comparison } from '../../protocol/differences.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { FencedName, OpenSide } from '../../protocol/fenced.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { listed } from '../../scheduler/phrases.ts';
import type { FencedThere } from '../../scheduler/snapshot-fenced.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { askMember } from './asked-member.ts';

interface FencedLines {
  self: NodeId;
  nodeNamed(name: string): NodeId;
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
    const answer = await askMember(this.#lines, this.#at(name), { kind: 'compare-fenced', with: name, from }, askMs);
    if (answer.kind !== 'compared') throw new AutogitError('unsupported', `it was answered with ${answer.kind}`);
    return answer;
  }

  bring = (name: FencedName, project: string, on?: string | undefined): Promise<string> =>
    this.#said(name, on, { kind: 'bring-fenced', name, project });
  drop = (name: FencedName, on?: string | undefined): Promise<string> =>
    this.#said(name, on, { kind: 'drop-fenced', name });

  async #said(name: FencedName, on: string | undefined, ask: Ask): Promise<string> {
    const answer = await askMember(this.#lines, this.#at(name, on), ask, askMs);
    return answer.kind === 'said' ? answer.because : 'it was asked for';
  }

  /**
   * Who keeps it: `on`, where a person was told of that machine. Two may keep one of the same name, as where an epoch was counted on both
   * sides of a recovery by force: of these the one is meant on which it is typed.
   */
  #at(name: FencedName, on?: string | undefined): NodeId {
    const { self, ledger, fenced, nodeNamed } = this.#lines;
    const nodes = [...new Set(fenced().flatMap(({ node, seen }) => (seen.name === name ? [node] : [])))];
    const meant = on === undefined ? self : nodeNamed(on);
    if (nodes.includes(meant)) return meant;
    const [first, second] = nodes;
    const away = first === undefined ? openSideOf(ledger(), name) : undefined;
    if (away !== undefined) {
      const there = nodeName(ledger(), away.node);
      throw new AutogitError('backup', `${there} keeps ${name}, and does not say so now`, {
        hint: `start ${there}, then the same again; where it never comes back: autogit-node forget ${there}`,
      });
    }
    if (first === undefined || on !== undefined) {
      const none = on === undefined ? `no machine that was heard keeps ${name}` : `${on} keeps no ${name} (any more)`;
      throw new AutogitError('backup', none, {
        hint: 'which are kept, by machines that hold copies: autogit-node gitlab fenced',
      });
    }
    if (second !== undefined)
      throw new AutogitError('backup', `${listed(nodes.map((node) => nodeName(ledger(), node)))} keep a ${name} each`, {
        hint: 'type it on the one that is meant',
      });
    return first;
  }
}

/** By the ledger: what nobody has looked at, and its machine is away or cannot open its place. */
const openSideOf = ({ gitlab }: Ledger, name: FencedName): OpenSide | undefined =>
  gitlab.hosted?.sides?.open.find((one) => one.name === name);
