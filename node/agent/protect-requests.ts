import { randomBytes } from 'node:crypto';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { whyNotProtect } from '../../scheduler/hosting/protect-edits.ts';
import { vaultOf } from '../../scheduler/hosting/vault-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { checkOf, refusalCheck } from '../hosting/deploy-check.ts';
import type { ProtectionRequest, ProtectPlan } from '../local-api/socket-protocol.ts';

interface ProtectLines {
  self: NodeId;
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  change(change: Change): Promise<ChangeOutcome>;
  nodeNamed(name: string): NodeId;
}

/** It counts what there is, where GitLab's own backup has to be made. */
const checkMs = 40_000;

/** What a person asks of a GitLab that a machine runs without the mesh: that its backups are the mesh's. */
export class ProtectRequests {
  readonly #lines: ProtectLines;

  constructor(lines: ProtectLines) {
    this.#lines = lines;
  }

  /** Changes nothing. */
  async plan(request: ProtectionRequest): Promise<ProtectPlan> {
    const { node: _node, ...plan } = await this.#look(request);
    return plan;
  }

  async protect(request: ProtectionRequest): Promise<ChangeOutcome> {
    const { node, found, lines } = await this.#look(request);
    const failed = lines.find(({ state }) => state === 'fail');
    if (failed || found === null)
      return { state: 'refused', because: failed?.sentence ?? 'no container of a GitLab was found' };
    const { container, folder, keeps } = found;
    return this.#lines.change({
      kind: 'protect-gitlab',
      protected: { node, container, folder, data: randomBytes(6).toString('hex'), ...(keeps && { keeps }) },
      because: this.#because(),
    });
  }

  end(): Promise<ChangeOutcome> {
    return this.#lines.change({ kind: 'protect-gitlab', protected: null, because: this.#because() });
  }

  #because = (): string => `asked on ${nodeName(this.#lines.ledger(), this.#lines.self)}`;

  async #look({ on, container }: ProtectionRequest): Promise<ProtectPlan & { node: NodeId }> {
    const ledger = this.#lines.ledger();
    const node = on === null ? (ledger.gitlab.protected?.node ?? this.#lines.self) : this.#lines.nodeNamed(on);
    const host = nodeName(ledger, node);
    const plan = { node, host, target: vaultOf(ledger)?.target ?? null };
    // Whose version knows nothing of this would not understand the question.
    if (!ledger.nodes[node]?.can?.includes('protect'))
      return {
        ...plan,
        found: null,
        lines: [checkOf('fail', 'mesh', `${host} runs an earlier version`, 'upgrade it first')],
      };
    // Whatever is found there: the mesh has one of its own.
    const isHosting = ledger.gitlab.mode === 'hosted' ? whyNotProtect(ledger, { node, folder: '' }) : null;
    if (isHosting !== null) return { ...plan, found: null, lines: [refusalCheck(isHosting)] };
    const answer = await this.#lines.ask(node, { kind: 'check-protect', container }, checkMs).catch((cause) => {
      throw new AutogitError('timed-out', `${host} does not answer: ${sentenceOf(cause)}`, { cause });
    });
    if (answer.kind !== 'protect-checked') {
      const because = answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`;
      throw new AutogitError('unsupported', `${host} does not look for a GitLab: ${because}`);
    }
    const { found, checks } = answer;
    const refused = found === null ? null : whyNotProtect(ledger, { node, folder: found.folder });
    return { ...plan, found, lines: refused === null ? checks : [...checks, refusalCheck(refused)] };
  }
}
