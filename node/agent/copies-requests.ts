import type { Answer, Ask, DeployCheck } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { listed } from '../../scheduler/phrases.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { presets } from '../hosting/presets.ts';
import type { CopyPlan } from '../local-api/socket-protocol.ts';
import { hostIn } from '../network/addresses.ts';

interface CopiesLines {
  self: NodeId;
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  change(change: Change): Promise<ChangeOutcome>;
  nodeNamed(name: string): NodeId;
  /** host:port of where it is connected now. */
  addressOf(node: NodeId): string | null;
}

/** It asks a disk that may sleep. */
const checkMs = 15_000;

/** What was found of the machines that shall hold copies of a GitLab. */
interface CopiesFound {
  nodes: NodeId[];
  lines: DeployCheck[];
}

/** The GitLab that the mesh runs itself. Throws `no-gitlab`. */
export function requireHosting(ledger: Ledger): Hosting {
  const hosting = hostingOf(ledger);
  if (hosting === null)
    throw new AutogitError('no-gitlab', 'this mesh runs no GitLab itself', { hint: 'autogit-node gitlab deploy' });
  return hosting;
}

/** What a person asks of the copies of the mesh's GitLab, at any machine of it. */
export class CopiesRequests {
  readonly #lines: CopiesLines;

  constructor(lines: CopiesLines) {
    this.#lines = lines;
  }

  agreed(): { agreed: string[] } {
    return { agreed: (this.#hosting().copies?.agreed ?? []).map((node) => this.#name(node)) };
  }

  async plan(name: string): Promise<CopyPlan> {
    const hosting = this.#hosting();
    const node = this.#lines.nodeNamed(name);
    return { node: this.#name(node), lines: await this.#look(node, hosting) };
  }

  async agree({ node: name, agreed }: { node: string; agreed: boolean }): Promise<ChangeOutcome> {
    const hosting = this.#hosting();
    const node = this.#lines.nodeNamed(name);
    const failed = agreed ? (await this.#look(node, hosting)).find(({ state }) => state === 'fail') : undefined;
    if (failed) return { state: 'refused', because: failed.sentence };
    const because = `asked on ${this.#name(this.#lines.self)}`;
    return this.#lines.change({ kind: 'agree-copies', data: hosting.data, node, agreed, because });
  }

  /**
   * Of a GitLab that `host` shall run: who will hold copies, and the lines that say so before anybody agrees. `wanted`
   * undefined: the first two of the other machines that can.
   */
  async forDeploy(
    host: NodeId,
    wish: Pick<Hosting, 'data' | 'preset'> & { hasSnapshots: boolean; wanted: readonly string[] | undefined },
  ): Promise<CopiesFound> {
    const name = this.#name(host);
    const line = (state: DeployCheck['state'], sentence: string, fix: string | null = null): DeployCheck[] => [
      { state, what: 'copies', sentence: asSentence(sentence), fix },
    ];
    const alone = `one copy, on ${name} alone: if that machine dies GitLab is gone with it`;
    const later = 'later, where there is one: autogit-node gitlab copies add NAME';
    if (!wish.hasSnapshots)
      return { nodes: [], lines: line('warn', `${alone}; a plain folder cannot be copied as it runs`) };
    const { wanted } = wish;
    if (wanted?.length === 0) return { nodes: [], lines: line('warn', alone, later) };
    const named = wanted?.map((one) => this.#lines.nodeNamed(one));
    const found = await Promise.all(
      (named ?? this.#others(host)).map(async (node) => ({ node, checks: await this.#look(node, { ...wish, host }) })),
    );
    const bad = found.flatMap(({ checks }) => checks.filter(({ state }) => state === 'fail'));
    if (named !== undefined && bad.length > 0) return { nodes: [], lines: bad };
    const fit = found.filter(({ checks }) => checks.every(({ state }) => state !== 'fail'));
    const nodes = (named ?? fit.map(({ node }) => node).slice(0, limits.standbys)).slice(0, limits.agreedCopies);
    if (nodes.length === 0) {
      const why = bad[0] === undefined ? 'the mesh has no other machine for them' : bad[0].sentence;
      return { nodes, lines: line('warn', `${alone}: ${why}`, bad[0]?.fix ?? later) };
    }
    const where = fit.filter(({ node }) => nodes.includes(node)).flatMap(({ checks }) => checks);
    const who = listed(nodes.map((node) => this.#name(node)));
    const whole = `all of GitLab is copied to ${who} while it runs: whoever owns ${nodes.length === 1 ? 'that machine' : 'those machines'} can read it`;
    const votes = Object.values(this.#lines.ledger().nodes).filter(({ left }) => !left).length;
    const two =
      votes > 2
        ? []
        : line(
            'warn',
            `of two machines one alone decides nothing: when ${name} dies, GitLab goes on at ${who} only by autogit-node recover --force`,
            'on a third machine, however small, which lets it go on by itself: autogit-node join --witness',
          );
    return { nodes, lines: [...line('ok', whole), ...where, ...two] };
  }

  #others(host: NodeId): NodeId[] {
    const { nodes } = this.#lines.ledger();
    return Object.entries(nodes)
      .filter(([node, { left, drained }]) => node !== host && !left && !drained)
      .map(([node]) => node)
      .slice(0, limits.agreedCopies);
  }

  /** Each line names its machine. */
  async #look(node: NodeId, { host, data, preset }: Pick<Hosting, 'host' | 'data' | 'preset'>): Promise<DeployCheck[]> {
    const name = this.#name(node);
    const fails = (sentence: string, fix: string | null = null): DeployCheck[] => [
      { state: 'fail', what: 'copies', sentence: asSentence(sentence), fix },
    ];
    if (node === host) return fails(`${name} runs GitLab itself: a copy beside it would die with it`);
    const listedAs = this.#lines.ledger().nodes[node];
    if (!listedAs?.can?.includes('copies'))
      return fails(`${name} has an earlier version, which knows nothing of copies`, 'update it, then this again');
    const ask: Ask = { kind: 'check-copies', data, bytes: presets[preset].leastDiskBytes, door: true };
    try {
      const answer = await this.#lines.ask(node, ask, checkMs);
      if (answer.kind === 'refused') return fails(`${name}: ${answer.because}`);
      if (answer.kind !== 'copies-checked') return fails(`${name} answered with ${answer.kind}`);
      const checks = answer.checks.map((check) => ({
        ...check,
        what: 'copies',
        sentence: asSentence(`${name}: ${check.sentence}`),
      }));
      const shut = await this.#tried(node, answer);
      // Another machine than the host tries in its place: what stops one stops the other, or not.
      return shut === null ? checks : [...checks, { ...shut, state: this.#lines.self === host ? 'fail' : 'warn' }];
    } catch (error) {
      return fails(
        `${name} does not answer: ${sentenceOf(error)}`,
        'see which machines are missing, or run an earlier version that does not know the question: autogit-node status',
      );
    }
  }

  /** The way that rounds will take, tried: null where it is open, or nothing is known of it. */
  async #tried(
    node: NodeId,
    { door }: Answer & { kind: 'copies-checked' },
  ): Promise<Omit<DeployCheck, 'state'> | null> {
    const host = hostIn(this.#lines.addressOf(node));
    if (door === undefined || host === undefined || node === this.#lines.self) return null;
    const { openPorts, whyNoWay } = await import('../hosting/wire/door-trial.ts');
    const why = await whyNoWay({ ...door, host });
    if (why === null) return null;
    const name = this.#name(node);
    return { what: 'copies', sentence: asSentence(`${name}: ${why}`), fix: asSentence(openPorts(name)) };
  }

  #hosting = (): Hosting => requireHosting(this.#lines.ledger());

  #name = (node: NodeId): string => nodeName(this.#lines.ledger(), node);
}
