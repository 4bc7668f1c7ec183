import type { Answer, Ask, DeployCheck } from '../../protocol/asks.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { LeaderLossSeen } from '../../protocol/loss-seen.ts';
import { besideFromMs, whyNotBeside } from '../../scheduler/hosting/beside-rules.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { listed, plural, span } from '../../scheduler/phrases.ts';
import { openRuns, planLeaderLoss, rehearsalTimings, whyGitlabIsBusy } from '../../scheduler/rehearsed-loss.ts';
import { foreseen } from '../../scheduler/snapshot-failover.ts';
import { nodeName, type ViewInput } from '../../scheduler/snapshot-view.ts';
import { checkOf, refusalCheck } from '../hosting/deploy-check.ts';
import type { RehearsalApi } from '../local-api/agent-api.ts';
import type { RehearsalPlan } from '../local-api/socket-protocol.ts';
import { askMember } from './asked-member.ts';
import { checkMove } from './move-requests.ts';

interface RehearsalLines {
  ledger(): Ledger;
  view(): ViewInput;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
}

const askMs = 10_000;
/** One that watches answers at once, or is away. */
const seenMs = 1_000;

const ok = (what: string, sentence: string): DeployCheck => checkOf('ok', what, sentence);

/** What a person asks of a rehearsal at any machine of the mesh. */
export class RehearsalRequests implements RehearsalApi {
  readonly #lines: RehearsalLines;
  /** Who watches the one that was begun here last. */
  #watcher: NodeId | null = null;

  constructor(lines: RehearsalLines) {
    this.#lines = lines;
  }

  async rehearsalPlan(what: 'leader-loss' | 'host-loss'): Promise<RehearsalPlan> {
    return what === 'leader-loss' ? this.#leaderLoss() : this.#hostLoss();
  }

  async rehearseLeaderLoss(): Promise<string> {
    const plan = planLeaderLoss(this.#lines.view());
    if (plan.because !== null)
      throw new AutogitError('unsupported', plan.because, { hint: 'how things are: autogit-node status' });
    const { leader, watcher } = plan;
    const answer = await askMember(this.#lines, watcher, { kind: 'rehearse-leader-loss', leader }, askMs);
    this.#watcher = watcher;
    return answer.kind === 'said' ? answer.because : 'it was asked for';
  }

  async rehearsal(): Promise<LeaderLossSeen | null> {
    if (this.#watcher === null) return null;
    // This machine may be the one that is silent.
    const answer = await this.#lines.ask(this.#watcher, { kind: 'rehearsal' }, seenMs).catch(() => null);
    if (answer?.kind !== 'rehearsal') return null;
    const { kind: _kind, ...seen } = answer;
    return seen;
  }

  #leaderLoss(): RehearsalPlan {
    const view = this.#lines.view();
    const plan = planLeaderLoss(view);
    const whose = view.leader && nodeName(view.ledger, view.leader.node);
    const of = { whose, to: null, graceMs: null, besideMs: null };
    if (plan.because !== null) return { ...of, lines: [refusalCheck(plan.because)] };
    const { ledger, others, watcher } = plan;
    const name = (node: NodeId): string => nodeName(ledger, node);
    const jobs = openRuns(ledger).length;
    const hosting = hostingOf(ledger);
    return {
      ...of,
      lines: [
        ok(
          'silence',
          `${whose} leads no more from then on, and neither says nor answers anything for ${span(rehearsalTimings.silentMs)}, by a timer of its own`,
        ),
        ok(
          'election',
          `${listed(others.map(name), 'or')} leads next: within a tenth of a second as a rule, within 1.7 s where a firewall hides that its agent is gone; ${name(watcher)} watches`,
        ),
        ok(
          'jobs',
          jobs === 0
            ? 'none runs now'
            : `${plural(jobs, 'job')} under way: all go on, those on ${whose} by GitLab's word; what waits gets no machine until another one leads`,
        ),
        ...(hosting === null
          ? []
          : [ok('gitlab', `${name(hosting.host)} serves on: what it may do lasts longer than this`)]),
        ok('afterwards', `${whose} follows whoever leads then: nothing ever moves leadership back`),
      ],
    };
  }

  async #hostLoss(): Promise<RehearsalPlan> {
    const view = this.#lines.view();
    const ledger = this.#lines.ledger();
    const hosting = hostingOf(ledger);
    const none = { whose: null, to: null, graceMs: null, besideMs: null };
    if (hosting === null)
      return { ...none, lines: [refusalCheck('this mesh runs no GitLab itself: autogit-node gitlab deploy')] };
    const whose = nodeName(ledger, hosting.host);
    const busy = whyGitlabIsBusy(view, ledger);
    if (busy !== null) return { ...none, whose, lines: [refusalCheck(busy)] };
    const next = foreseen(view, ledger, hosting);
    if (next.to === null)
      return { ...none, whose, lines: [refusalCheck(`GitLab would go on nowhere by itself: ${next.because}`)] };
    const to = nodeName(ledger, next.to);
    const alone = whyNotBeside(view, next.to, hosting.data);
    const besideMs = alone === null ? besideFromMs(next.graceMs) : null;
    const lines = [
      ok('host', `${whose} serves on all the time, and is not touched`),
      ok(
        'next',
        next.kind === 'in-sync'
          ? `${to} is in sync: it goes on by itself once ${whose} has been silent for ${span(next.graceMs)}`
          : `${to} goes on by itself once ${whose} has been silent for ${span(next.graceMs)}; it is not in sync: acknowledged pushes would be lost`,
      ),
      besideMs === null
        ? checkOf('warn', 'boot', `${to} boots GitLab once it goes on there, and not beforehand: ${alone}`)
        : ok('boot', `${to} boots GitLab beforehand, without network, after ${span(besideMs)} of silence`),
      ...(next.kind === 'in-sync' ? await this.#fitness(next.to, hosting.data) : []),
    ];
    return { whose, to, graceMs: next.graceMs, besideMs, lines };
  }

  /** What that machine finds of itself, as before a planned move. */
  async #fitness(to: NodeId, data: string): Promise<DeployCheck[]> {
    try {
      return (await checkMove(this.#lines, to, data, to)).checks;
    } catch (error) {
      const name = nodeName(this.#lines.ledger(), to);
      return [checkOf('warn', 'machine', `${name} could not be asked whether it is ready: ${sentenceOf(error)}`)];
    }
  }
}
