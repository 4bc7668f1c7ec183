import type { AdoptWish, Answer, Ask, DeployCheck } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { hostedUrl, whyNotDeploy } from '../../scheduler/hosting/hosted-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { adoptRefusal, checkOf } from '../hosting/deploy-check.ts';
import type { AdoptionSeen, AdoptPlan, AdoptRequest } from '../local-api/socket-protocol.ts';
import { askMember } from './asked-member.ts';

interface AdoptLines {
  self: NodeId;
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  nodeNamed(name: string): NodeId;
}

/** Whoever can tell notices says that in its place (protocol/ledger.ts). */
const canAdopt = ({ nodes }: Ledger, node: NodeId): boolean =>
  nodes[node]?.can?.some((one) => one === 'adopt' || one === 'notices') === true;

/** It counts what there is to copy, and asks an engine. */
const checkMs = 55_000;
const lookMs = 15_000;

/** What a person asks of a GitLab that a machine runs without the mesh: that it becomes the mesh's. */
export class AdoptRequests {
  readonly #lines: AdoptLines;

  constructor(lines: AdoptLines) {
    this.#lines = lines;
  }

  /** Changes nothing. */
  async plan({ on, ...wish }: AdoptRequest): Promise<AdoptPlan> {
    const ledger = this.#lines.ledger();
    const node = this.#node(on);
    const host = nodeName(ledger, node);
    const failed = (line: DeployCheck): AdoptPlan => ({ host, found: null, url: null, lines: [line] });
    if (!canAdopt(ledger, node))
      return failed(checkOf('fail', 'mesh', `${host} runs an earlier version`, 'upgrade it first'));
    const refused = whyNotDeploy(ledger, node);
    if (refused !== null) return failed(adoptRefusal(refused));
    const answer = await this.#ask(node, { kind: 'check-adopt', wish: wish satisfies AdoptWish }, checkMs);
    if (answer.kind !== 'adopt-checked')
      throw new AutogitError('bad-message', `${host} answered with ${answer.kind} to what it was asked`);
    const { found, checks } = answer;
    return { host, found, lines: checks, url: found && hostedUrl(found) };
  }

  /** That machine looks once more, then begins. */
  async begin({ on, ...wish }: AdoptRequest): Promise<string> {
    const answer = await this.#ask(this.#node(on), { kind: 'begin-adopt', wish }, checkMs);
    return answer.kind === 'said' ? answer.because : 'it was asked for';
  }

  async seen(on: string | null): Promise<AdoptionSeen> {
    const node = this.#node(on);
    const host = nodeName(this.#lines.ledger(), node);
    if (!canAdopt(this.#lines.ledger(), node))
      return {
        host,
        state: 'none',
        phase: 'none',
        percent: null,
        because: 'it runs an earlier version',
        problem: null,
      };
    const answer = await this.#ask(node, { kind: 'adoption' }, lookMs);
    if (answer.kind !== 'adoption')
      throw new AutogitError('bad-message', `${host} answered with ${answer.kind} to what it was asked`);
    const { kind: _kind, ...seen } = answer;
    return { host, ...seen };
  }

  #node(on: string | null): NodeId {
    return on === null ? this.#lines.self : this.#lines.nodeNamed(on);
  }

  #ask = (node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer> => askMember(this.#lines, node, ask, timeoutMs);
}
