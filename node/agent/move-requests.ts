import type { Answer, DeployCheck } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, type ErrorCode, sentenceOf } from '../../protocol/errors.ts';
import type { HostedAt } from '../../protocol/hosted-move.ts';
import { asSentence, type NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import {
  addressThere,
  type Hosting,
  hostedUrl,
  isByAddress,
  isByMeshName,
} from '../../scheduler/hosting/hosted-edits.ts';
import { whyNoMove } from '../../scheduler/hosting/move-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { checkOf, refusalCheck } from '../hosting/deploy-check.ts';
import type { MovePlan } from '../local-api/socket-protocol.ts';
import { askMember } from './asked-member.ts';
import { requireHosting } from './copies-requests.ts';
import type { HostingLines } from './hosting-lines.ts';

interface Looked {
  to: NodeId;
  plan: MovePlan;
  /** Null where something speaks against it. */
  there: HostedAt | null;
}

type Checked = Extract<Answer, { kind: 'move-checked' }>;

/** It asks an engine and a registry. */
const checkMs = 30_000;
/** It looks at what it has written down. */
const cancelMs = 5_000;

/** What a person asks of a planned move of the mesh's GitLab, at any machine of it. */
export class MoveRequests {
  readonly #lines: HostingLines;

  constructor(lines: HostingLines) {
    this.#lines = lines;
  }

  async plan(node: string): Promise<MovePlan> {
    return (await this.#look(node)).plan;
  }

  /** `signal`: what was found is asked of the mesh no more. */
  async begin(node: string, signal?: AbortSignal): Promise<ChangeOutcome> {
    const ledger = this.#lines.ledger();
    const { data, epoch, move, host } = requireHosting(ledger);
    if (move !== undefined && move.to === this.#lines.nodeNamed(node))
      return { state: 'done', because: `GitLab is moving to ${nodeName(ledger, move.to)} already` };
    const { to, plan, there } = await this.#look(node);
    const failed = plan.lines.find(({ state }) => state === 'fail');
    if (failed) return { state: 'refused', because: failed.sentence };
    if (there === null) return { state: 'refused', because: `${plan.to} has no place for GitLab's data` };
    if (signal?.aborted) return { state: 'refused', because: 'it was not looked at in time' };
    const because = asSentence(
      `asked on ${nodeName(ledger, this.#lines.self)}: from ${nodeName(ledger, host)} to ${plan.to}`,
    );
    return this.#lines.change({ kind: 'move-gitlab', data, epoch, to, there, because } satisfies Change);
  }

  /** Until the gate at its host is shut for it: GitLab serves on there, and how it ended stands in `status`. */
  async cancel(node: string | null): Promise<ChangeOutcome> {
    const ledger = this.#lines.ledger();
    const { data, move, host } = requireHosting(ledger);
    const refused = (because: string): ChangeOutcome => ({ state: 'refused', because: asSentence(because) });
    if (move === undefined) return refused('GitLab does not move: there is nothing to cancel');
    const [from, to] = [nodeName(ledger, move.from), nodeName(ledger, move.to)];
    if (node !== null && this.#lines.nodeNamed(node) !== move.to)
      return refused(`GitLab moves to ${to}, not to ${node}`);
    if (move.to === host && move.unplanned) return refused(`${from} was silent, and GitLab goes on at ${to}`);
    if (move.to === host)
      return refused(
        `all of GitLab is on ${to} already, which starts it: it goes back to ${from} where it does not come up there; once it serves: autogit-node gitlab move ${from}`,
      );
    const answer = await askMember(this.#lines, host, { kind: 'cancel-move', data, to: move.to }, cancelMs);
    if (answer.kind === 'said') return { state: 'done', because: answer.because };
    throw new AutogitError('unsupported', `${from} answered with ${answer.kind}`);
  }

  async #look(node: string): Promise<Looked> {
    const ledger = this.#lines.ledger();
    const hosting = requireHosting(ledger);
    const to = this.#lines.nodeNamed(node);
    const [host, name] = [nodeName(ledger, hosting.host), nodeName(ledger, to)];
    const now = hostedUrl(hosting);
    const plan = { host, to: name, url: ledger.gitlab.url ?? now, isOtherUrl: false, awayMs: null };
    const refused = whyNoMove(ledger, to);
    if (refused !== null) return { to, there: null, plan: { ...plan, lines: [refusalCheck(refused)] } };
    const check = (node: NodeId): Promise<Checked> => checkMove(this.#lines, node, hosting.data, to);
    const [here, there] = await Promise.all([check(hosting.host), check(to)]);
    const lines = [...here.checks, ...there.checks, ...backupLines(ledger, to, name)];
    const { place, address, ipv6 } = there;
    if (place === null || address === null) return { to, there: null, plan: { ...plan, lines } };
    const at = addressThere(hosting, { hostname: address, ipv6 });
    const isFollowed = ledger.gitlab.url === now;
    const url = isFollowed ? hostedUrl({ ...hosting, ipv6: undefined, ...at }) : (ledger.gitlab.url ?? now);
    return {
      to,
      there: { place: { kind: place.kind, path: place.path }, ...at },
      plan: {
        ...{ host, to: name, url, isOtherUrl: url !== (ledger.gitlab.url ?? now), awayMs: here.awayMs },
        lines: [
          ...lines,
          addressLine({ hosting, now, url, name, address, ipv6, isFollowed, isOwnName: isByMeshName(ledger) }),
        ],
      },
    };
  }
}

/** What that machine finds of a move to `to`; each line names it. */
export async function checkMove(
  { ledger, ask }: Pick<HostingLines, 'ledger' | 'ask'>,
  node: NodeId,
  data: string,
  to: NodeId,
): Promise<Checked> {
  const name = nodeName(ledger(), node);
  const answer = await ask(node, { kind: 'check-move', data, to }, checkMs).catch((cause: unknown) => {
    throw new AutogitError('timed-out', `${name} does not answer: ${sentenceOf(cause)}`, {
      cause,
      hint: 'see which machines are missing: autogit-node status',
    });
  });
  if (answer.kind === 'move-checked') {
    const named = (check: DeployCheck) => ({ ...check, sentence: asSentence(`${name}: ${check.sentence}`) });
    return { ...answer, checks: answer.checks.map(named) };
  }
  if (answer.kind === 'failed')
    throw new AutogitError(answer.code as ErrorCode, `${name}: ${answer.because}`, { hint: answer.hint });
  throw new AutogitError(
    'unsupported',
    `${name}: ${answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`}`,
    { hint: 'which machines vote, and how they are: autogit-node status -o wide' },
  );
}

interface Reached {
  address: string;
  ipv6: string | undefined;
}

interface Addressed extends Reached {
  hosting: Hosting;
  now: string;
  url: string;
  name: string;
  isFollowed: boolean;
  isOwnName: boolean;
}

function addressLine({ hosting, now, url, name, address, ipv6, isFollowed, isOwnName }: Addressed): DeployCheck {
  const line = (state: DeployCheck['state'], sentence: string, fix: string | null) =>
    checkOf(state, 'address', sentence, fix);
  if (hosting.ipv6 !== undefined && ipv6 === undefined)
    return line('warn', `GitLab is reached by IPv6, and ${name} has no such address: it becomes ${url}`, null);
  if (isFollowed && isOwnName) return line('ok', `${url}, as before: that name leads to ${name} then`, null);
  if (!isFollowed)
    return line(
      'warn',
      `${url} stays GitLab's address, and leads to ${name} only once you let it`,
      `when it has moved, have it lead to ${address}, port ${hosting.port}`,
    );
  if (!isByAddress(hosting))
    return line(
      'warn',
      `${url} stays GitLab's address: a machine of the mesh to which that name leads hands on to ${name} what comes there, while it runs`,
      `when it has moved, have ${hosting.hostname} lead to ${address} too, or to several machines of the mesh`,
    );
  if (url === now) return line('ok', `${url}, as before`, null);
  return line(
    'warn',
    `it becomes ${url}; by ${now} it is reached as long as that machine hands on what comes there, and GitLab's own links lead to the new one`,
    `in each clone, while there is time: git remote set-url origin ${url}/GROUP/PROJECT.git; a name of your own spares that next time: gitlab deploy --hostname NAME`,
  );
}

function backupLines({ gitlab: { vault } }: Ledger, to: NodeId, name: string): DeployCheck[] {
  if (vault?.keeper !== to) return [];
  const sentence = `${name} keeps the backups: they will lie on the machine that runs GitLab, and go with it if that dies`;
  return [checkOf('warn', 'backups', sentence, 'name another place for them: autogit-node gitlab backup --to TARGET')];
}
