import type { ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { listed, plural } from '../../scheduler/phrases.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import type { DeployPlan, DeployRequest } from '../local-api/socket-protocol.ts';
import { type Progress, withFix } from '../progress-lines.ts';
import { peopleOfFile } from '../settings/people-file.ts';
import { showDuration } from '../settings/quantities.ts';
import { configOf } from '../settings/settings.ts';
import { asTyped } from './call-name.ts';
import { addressIn, openKey } from './certificate-command.ts';
import { agentOf, type Context } from './context.ts';
import { exit, gitlabHint, requireDone } from './failure.ts';
import { hostedMesh } from './hosted-mesh.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { linesOf, sayChecks } from './plan-lines.ts';
import { ask, confirm, hasTerminal, isAgreed, isConfirmed } from './prompt.ts';
import { foundIn, hearsMs, stopsWatching } from './watching.ts';

/**
 * `gitlab deploy`: looks, says what it found and what will be done, asks, and then watches until GitLab serves. Deploying is the
 * mesh's from the answer on: whoever stops watching stops nothing.
 */
export async function deploy(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const wish = wishOf(context);
  const lines = linesOf(context);
  const open = wish.tls && openKey(settings);
  if (open) lines.warn('certificate', open);
  const plan = await agent.gitlabPlan(wish);
  const failed = sayChecks(lines, plan.lines);
  if (failed.length > 0) {
    if (settings.isOn('json')) out.json({ state: 'refused', plan });
    throw new AutogitError('unsupported', `GitLab was not deployed: ${listedWhat(failed)}`, {
      hint: failed[0]?.fix ?? 'what each line above says; then the same command again',
    });
  }
  await sayPeople(context, plan, lines);
  if (!(await isWanted(context, plan))) return exit.failed;
  const outcome = await agent.gitlabDeploy(wish);
  return watchDeploy(context, agent, lines, outcome);
}

/** What the mesh was asked for, until it serves. */
export async function watchDeploy(
  context: Context,
  agent: AgentClient,
  lines: Progress,
  outcome: ChangeOutcome,
): Promise<number> {
  requireDone(outcome, gitlabHint);
  const end = await untilItServes(context, agent, lines);
  if (end === null)
    return stopsWatching(
      context,
      'deploying',
      "the mesh goes on deploying it: autogit-node gitlab; then root's password: autogit-node gitlab password",
    );
  return end.state === 'healthy' ? sayServes(context, agent, lines, end) : sayFailed(context, end);
}

const listedWhat = (lines: DeployPlan['lines']): string => [...new Set(lines.map(({ what }) => what))].join(', ');

function wishOf({ settings }: Context): DeployRequest {
  const sshPort = settings.number('gitlab.sshPort');
  return {
    on: settings.text('gitlab.on'),
    image: settings.text('gitlab.image') as string,
    preset: settings.text('gitlab.preset') as DeployRequest['preset'],
    sshPort: sshPort === 0 ? null : sshPort,
    ...addressIn(settings),
    data: settings.text('gitlab.data'),
    ...copiesOf(settings.list('gitlab.copies')),
  };
}

/** `none` is a word, and no machine's name beside others. */
function copiesOf(named: readonly string[]): Pick<DeployRequest, 'copies'> {
  if (named.length === 0) return {};
  if (named.includes('none') && named.length > 1)
    throw new AutogitError('bad-flag', '--copies none and a machine beside it', {
      hint: '--copies NAME,NAME, or none',
    });
  return { copies: named[0] === 'none' ? [] : [...named] };
}

/** A list in the file of whoever types this is none that counts elsewhere. */
async function sayPeople({ settings }: Context, { host }: DeployPlan, lines: Progress): Promise<void> {
  const { users, groups } = await peopleOfFile(configOf(settings))();
  if (users.length + groups.length > 0)
    lines.ok(
      'people',
      `users and groups are made as they stand in the autogit.yml of the agent on ${host} (here: ${plural(users.length, 'user')}, ${plural(groups.length, 'group')})`,
    );
}

/** It takes a machine's memory and disk, so nobody gets it by an answer that was not given. */
async function isWanted(context: Context, { host, url, copies }: DeployPlan): Promise<boolean> {
  const where = copies.length === 0 ? '' : `, copies of all of it on ${listed(copies)}`;
  return isAgreed(`GitLab shall run on ${host}`, `Deploy GitLab on ${host} as ${url}${where}?`, promptOf(context));
}

type GitlabView = StatusSnapshot['gitlab'];

/** A line for each phase, and one for each tenth of a long one. Null when nobody watches any more. */
async function untilItServes(
  context: Context,
  agent: AgentClient,
  lines: Progress,
): Promise<(GitlabView & { tookMs: number }) | null> {
  const began = performance.now();
  const told = new PhaseLines(lines, () => performance.now());
  let wasHosted = false;
  return foundIn(context, agent, ({ gitlab }) => {
    // Its leader has it committed; this machine hears so a moment later.
    if (gitlab.mode !== 'hosted' && !wasHosted && performance.now() - began < hearsMs) return null;
    if (gitlab.mode !== 'hosted')
      throw new AutogitError('unsupported', 'GitLab was uninstalled meanwhile', { hint: gitlabHint });
    wasHosted = true;
    told.say(gitlab);
    if (gitlab.state === 'healthy' || gitlab.state === 'failed')
      return { ...gitlab, tookMs: performance.now() - began };
    const hangs = told.hangs();
    if (hangs !== null)
      throw new AutogitError('unsupported', `GitLab does not come up: ${hangs}`, {
        hint: `mend that: the mesh tries it again by itself, and says here how it goes: ${asTyped('autogit-node gitlab')}`,
      });
    return null;
  });
}

/** ms that one cause may stand, with nothing that goes on, before whoever watches is told that this comes to nothing by itself. */
const hangsMs = 600_000;

/** What of a deployment is told as it goes on: each phase once, each tenth of it, each new reason why it hangs. */
export class PhaseLines {
  readonly #lines: Pick<Progress, 'wait' | 'warn'>;
  readonly #now: () => number;
  readonly #label: string;
  #phase: { name: string; since: number; tenth: number } | null = null;
  #because: string | null = null;
  /** Why it is tried again and again, and since when. */
  #again: { cause: string; since: number } | null = null;

  /** `label` stands before each line. */
  constructor(lines: Pick<Progress, 'wait' | 'warn'>, now: () => number, label = 'deploying') {
    this.#label = label;
    this.#lines = lines;
    this.#now = now;
  }

  say({ state, hosted }: Pick<GitlabView, 'state' | 'hosted'>): void {
    const { progress = null, because = null } = hosted ?? {};
    if (progress) this.sayPhase(progress.phase, progress.percent);
    // What is tried again counts down: the cause is said once.
    const cause = because?.replace(/; tried again in .*$/, '') ?? null;
    if (cause !== null && cause !== because && cause !== this.#again?.cause)
      this.#again = { cause, since: this.#now() };
    const isWrong = cause !== because || state === 'degraded' || state === 'repairing';
    // What is begun anew at once has its cause without a time: it is said with the next one.
    if (cause === this.#because || cause === null || !isWrong) return;
    this.#because = cause;
    this.#lines.warn(state, cause);
  }

  /** Why it does not go on, for ten minutes now; null while it may. */
  hangs(): string | null {
    return this.#again !== null && this.#now() - this.#again.since > hangsMs ? this.#again.cause : null;
  }

  sayPhase(name: string, percent: number | null): void {
    const now = this.#now();
    const tenth = Math.floor((percent ?? 0) / 10);
    if (this.#phase?.name === name && this.#phase.tenth >= tenth) return;
    const since = this.#phase?.name === name ? this.#phase.since : now;
    this.#again = null;
    this.#phase = { name, since, tenth };
    const isPart = percent !== null && percent > 0 && percent < 100;
    const more = !isPart || since === now ? null : ((now - since) * (100 - percent)) / percent;
    const forecast = more === null ? '' : `, about ${showDuration(Math.ceil(more / 1000) * 1000)} more`;
    this.#lines.wait(this.#label, percent === null ? name : `${name}: ${Math.floor(percent)} %${forecast}`);
  }
}

async function sayServes(
  { settings, out }: Context,
  agent: AgentClient,
  lines: Progress,
  { url, version, host, tookMs }: GitlabView & { tookMs: number },
): Promise<number> {
  const { password } = await agent.gitlabPassword({});
  if (settings.isOn('json')) {
    out.json({ state: 'healthy', url, version, host, rootPassword: password });
    return wasShown(agent, password);
  }
  const which = version === null ? 'GitLab' : `GitLab ${version}`;
  lines.ok('serves', `${url}, ${which} on ${host}, after ${showDuration(tookMs)}`);
  if (password === null) lines.ok('root', withFix('its password was shown before', newPassword));
  // On stdout, once: with --quiet and in a pipe it is what was asked for.
  else out.data(out.isTerminal ? `  root's password, shown once: ${shown(password)}` : `${url}\troot\t${password}`);
  return wasShown(agent, password);
}

/** Only now is it forgotten. A mesh that does not hear of it shows it once more to whoever asks. */
async function wasShown(agent: AgentClient, password: string | null): Promise<number> {
  if (password !== null) await agent.gitlabPassword({ seen: password }).catch(() => undefined);
  return exit.ok;
}

const newPassword = 'make another one: autogit-node gitlab password root';

/** `gitlab password [user]`: root's first one, for who did not watch to the end; or a new one for a user, who must change it at once. */
export async function password(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const agent = await agentOf(context);
  const [user] = args;
  if (user !== undefined) return another(context, agent, user);
  const { password: shownOnce } = await agent.gitlabPassword({});
  if (shownOnce === null)
    throw new AutogitError('unsupported', "root's first password was shown before, or there is none yet", {
      hint: newPassword,
    });
  if (settings.isOn('json')) out.json({ user: 'root', password: shownOnce });
  else out.data(out.isTerminal ? `root's password, shown once: ${shown(shownOnce)}` : shownOnce);
  return wasShown(agent, shownOnce);
}

async function another(context: Context, agent: AgentClient, user: string): Promise<number> {
  const { settings, out } = context;
  const prompt = promptOf(context);
  await hostedMesh(agent);
  const question = `Give GitLab's user ${user} another password? The one of now ends.`;
  if (!(await isConfirmed(question, false, prompt))) return exit.failed;
  const { password: made } = await agent.gitlabPassword({ user });
  if (made === null) throw new AutogitError('gitlab-answer', 'the host made no password', { hint: gitlabHint });
  if (settings.isOn('json')) out.json({ user, password: made });
  else out.data(out.isTerminal ? `password of ${shown(user)}, shown once: ${shown(made)}` : made);
  // Root's is changed by root's own token.
  if (user !== 'root') out.talk('GitLab asks for another one at the next sign-in.');
  return exit.ok;
}

function sayFailed({ settings, out }: Context, { hosted, flag }: GitlabView): number {
  const why = flag ?? hosted?.because ?? 'it does not serve';
  if (settings.isOn('json')) out.json({ state: 'failed', because: why });
  throw new AutogitError('unsupported', `GitLab does not come up: ${why}`, {
    hint: 'mend that, then have it looked at again: autogit-node reconcile',
  });
}

/** Its data is kept unless a person says twice that it shall go. */
export async function uninstall(context: Context): Promise<number> {
  const { settings, out, stop } = context;
  const agent = await agentOf(context);
  const { gitlab, nodes, attention } = (await agent.status()).snapshot;
  const left = attention.find(({ code }) => code === 'gitlab-data-left');
  if (gitlab.mode === 'none' && left !== undefined)
    throw new AutogitError('no-gitlab', `this mesh runs no GitLab itself; ${left.sentence}`, {
      hint: `they are deleted, with all in them, by: ${left.fix}`,
    });
  if (gitlab.mode !== 'hosted')
    throw new AutogitError('no-gitlab', 'this mesh runs no GitLab itself', {
      hint:
        gitlab.mode === 'none'
          ? 'data of one that was uninstalled are named on its machine: autogit-node status'
          : 'to leave the connected one: autogit-node gitlab disconnect',
    });
  const deleteData = settings.isOn('gitlab.deleteData');
  const running = nodes.reduce((sum, { runs }) => sum + runs.length, 0);
  if (!(await isMeant(context, gitlab, deleteData, running))) return exit.failed;
  const outcome = await agent.gitlabUninstall({
    deleteData,
    now: settings.isOn('gitlab.now'),
    force: settings.isOn('gitlab.force'),
  });
  requireDone(outcome, gitlabHint);
  const gone = await untilGone(context, agent);
  if (gone !== null) {
    if (settings.isOn('json')) out.json({ state: 'gone', because: gone });
    else sentence(out, gone);
    return exit.ok;
  }
  const because = 'it goes on by itself; look at it: autogit-node gitlab';
  if (settings.isOn('json')) out.json({ state: 'leaving', because });
  else sentence(out, because);
  return stop.told().aborted ? exit.interrupted : exit.ok;
}

async function isMeant(context: Context, gitlab: GitlabView, deleteData: boolean, running: number): Promise<boolean> {
  const prompt = promptOf(context);
  const host = gitlab.host ?? 'its machine';
  if (prompt.yes) return true;
  if (!hasTerminal(prompt))
    throw new AutogitError('no-terminal', `nobody here can say that GitLab on ${host} shall end`, {
      hint: `the same command with --yes${deleteData ? ': its data is deleted then' : ''}`,
    });
  const fate = context.settings.isOn('gitlab.now') ? 'will be given up' : 'will end first';
  const jobs = running === 0 ? '' : ` ${plural(running, 'job')} that ${running === 1 ? 'runs' : 'run'} ${fate}.`;
  if (!deleteData)
    return confirm(`End GitLab on ${host}? Its data stays in ${gitlab.hosted?.folder}.${jobs}`, false, prompt);
  const typed = await ask(
    `This DELETES GitLab on ${host} with all projects, users and secrets in ${gitlab.hosted?.folder}.${jobs} Type ${host} to do it:`,
    '',
    prompt,
  );
  if (typed === host) return true;
  context.out.talk('nothing was changed');
  return false;
}

/** ms; a container that ends in order takes a minute, a large folder longer. */
const goneMs = 180_000;

async function untilGone({ out, stop }: Context, agent: AgentClient): Promise<string | null> {
  const signal = stop.told();
  const end = performance.now() + goneMs;
  let said: string | null = null;
  for (let tag = ''; !signal.aborted && performance.now() < end; ) {
    const news = await agent.status(tag === '' ? undefined : { tag, waitMs: 1_000 });
    const { gitlab, attention } = news.snapshot;
    if (gitlab.mode === 'none') return goneIn(attention);
    const now = gitlab.flag ?? gitlab.hosted?.because ?? null;
    if (now !== null && now !== said) out.talk(shownLines(now));
    said = now;
    tag = news.tag;
  }
  return null;
}

const goneIn = (attention: StatusSnapshot['attention']): string =>
  attention.findLast(({ code }) => code === 'act-gitlab-gone')?.sentence.replace(/, [\d.]+ \w+ ago$/, '') ??
  'GitLab is uninstalled';

/** `reconcile`: the machine that hosts looks at once instead of at its next turn. */
export async function reconcile(context: Context): Promise<number> {
  const { said } = await (await agentOf(context)).reconcile();
  if (context.settings.isOn('json')) context.out.json({ said });
  else sentence(context.out, said);
  return exit.ok;
}
