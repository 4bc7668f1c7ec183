import { randomBytes } from 'node:crypto';
import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { shown, shownLines } from '../foreign-text.ts';
import { checkTarget, credentialsIn } from '../hosting/vault/backup-target.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import type { Settings } from '../settings/settings.ts';
import { agentOf, type Context } from './context.ts';
import { exit, failedWith, gitlabHint, requireDone } from './failure.ts';
import { sentence } from './output.ts';
import { foundIn, hearsMs, lostWords, quietTimer } from './watching.ts';

export type GitlabView = StatusSnapshot['gitlab'];

/** `gitlab backup`: names the place once (`--to`), and makes one now. It is made by itself each day. */
export async function backup(context: Context): Promise<number> {
  const { settings } = context;
  const target = settings.text('gitlab.to');
  const isKeyAsked = settings.isOn('gitlab.showRecoveryKey');
  if (!isKeyAsked && target !== null && target !== 'none') checkPlace(settings, target);
  const agent = await agentOf(context);
  if (isKeyAsked) return showKey(context, agent);
  if (target === 'none') return endBackups(context, agent);
  if (target === null) requireNoneOf(settings, (await backedUp(agent)).vault?.target ?? null);
  return backUpTo(context, agent, target);
}

/** What counts for the place alone would be passed over without a word. */
function requireNoneOf(settings: Settings, target: string | null): void {
  const said = ['every', 'keep'].find((name) => settings.source(`gitlab.${name}`) === 'flag');
  if (said === undefined) return;
  throw new AutogitError('bad-flag', `--${said} goes with the place that backups go to`, {
    hint:
      target === null
        ? 'name it too: autogit-node gitlab backup --to TARGET'
        : `name it again, with its recovery key (--show-recovery-key) in VAR, and --${said}: autogit-node gitlab backup --to ${target} --recovery-key-env VAR`,
  });
}

/** One is made now, after the place was named where there is a `target`. `retried`: asks again while its machine knows nothing of it. */
export async function backUpTo(
  context: Context,
  agent: AgentClient,
  target: string | null,
  retried = <T>(ask: () => Promise<T>): Promise<T> => ask(),
): Promise<number> {
  const { settings, out } = context;
  const before = (await backedUp(agent)).lastBackup?.id ?? null;
  const named = target === null ? null : await nameTarget(context, agent, target, retried);
  if (named === null) await retried(() => agent.gitlabBackup());
  const end = await untilBackedUp(context, agent, before);
  const key = named?.key ?? null;
  if (end === null) {
    const because = 'it goes on by itself: autogit-node gitlab';
    if (settings.isOn('json')) out.json({ state: 'doing', because, recoveryKey: key });
    else sentence(out, because);
    return exit.interrupted;
  }
  if (settings.isOn('json')) out.json({ state: 'done', ...end, recoveryKey: key });
  else sentence(out, out.isTerminal ? `backup ${end.id} is in ${end.copies.join(', ')}` : end.id);
  return exit.ok;
}

/** The GitLab of which backups are made: the mesh's own, or one that it protects. */
async function backedUp(agent: AgentClient): Promise<GitlabView> {
  const { gitlab } = (await agent.status()).snapshot;
  if (gitlab.protected === undefined && gitlab.mode !== 'hosted')
    throw new AutogitError('no-gitlab', 'this mesh runs no GitLab itself, and backs up no other', {
      hint: 'autogit-node gitlab deploy; one that runs already: autogit-node gitlab protect --to TARGET',
    });
  return gitlab;
}

export async function hosted(agent: AgentClient): Promise<GitlabView> {
  const { gitlab } = (await agent.status()).snapshot;
  if (gitlab.mode !== 'hosted')
    throw new AutogitError('no-gitlab', 'this mesh runs no GitLab itself', {
      hint:
        gitlab.protected === undefined
          ? 'autogit-node gitlab deploy'
          : 'of the one that it backs up a person copies files: autogit-node gitlab history',
    });
  return gitlab;
}

/** Of 32 letters that nobody mixes up: 160 bits. */
const newKey = (): string =>
  [...randomBytes(32)]
    .map((byte) => 'abcdefghijkmnpqrstuvwxyz23456789'[byte % 32])
    .join('')
    .replace(/(.{4})(?!$)/g, '$1-');

/** ms, as the ledger takes it. */
const [everyLeastMs, everyMostMs] = [60_000, 32 * 86_400_000];

function everyOf(ms: number): number {
  if (ms >= everyLeastMs && ms <= everyMostMs) return ms;
  throw new AutogitError(
    'bad-flag',
    `--every ${showDuration(ms)} is ${ms < everyLeastMs ? 'too often' : 'too seldom'}`,
    {
      hint: 'from 1m to 32d: --every 1d',
    },
  );
}

/** Three figures: days, weeks, months. */
function keepOf(text: string): { daily: number; weekly: number; monthly: number } {
  const found = /^(\d{1,3}),(\d{1,3}),(\d{1,3})$/.exec(text.replace(/\s/g, ''));
  const [daily = 0, weekly = 0, monthly = 0] = (found ?? []).slice(1).map(Number);
  if (daily < 1)
    throw new AutogitError('bad-flag', `--keep ${text} is not of the form DAYS,WEEKS,MONTHS`, { hint: '--keep 7,4,6' });
  return { daily, weekly, monthly };
}

interface Place {
  /** That a person gave; null: one is made. */
  given: string | null;
  everyMs: number;
  keep: ReturnType<typeof keepOf>;
}

/** Where backups shall go, how often, and what is kept of them, before anybody is asked for anything. Throws `bad-flag`. */
export function checkPlace(settings: Settings, target: string): Place {
  checkTarget(target);
  const variable = settings.text('gitlab.recoveryKeyEnv');
  const given = variable === null ? null : process.env[variable]?.trim();
  if (given === undefined || given === '')
    throw new AutogitError('bad-flag', `the variable ${variable} is empty or not set`);
  return {
    given,
    everyMs: everyOf(settings.number('gitlab.every') as number),
    keep: keepOf(settings.text('gitlab.keep') as string),
  };
}

async function nameTarget(
  context: Context,
  agent: AgentClient,
  target: string,
  retried: <T>(ask: () => Promise<T>) => Promise<T>,
): Promise<{ key: string | null }> {
  const { settings, out } = context;
  const { given, ...pace } = checkPlace(settings, target);
  const key = given ?? newKey();
  const before = (await agent.status()).snapshot.gitlab.vault?.target ?? null;
  const keyBefore = before === null || before === target ? null : await keyOfNow(agent);
  const wish = {
    ...{ target, password: key, isNew: given === null },
    credentials: credentialsIn(process.env, target),
    ...pace,
  };
  const outcome = await retried(() => agent.gitlabVault(wish)).catch((error: unknown) => {
    // Its answer may have been lost after the repository was made, and then nobody else knows the key.
    const isUnknown = error instanceof AutogitError && ['timed-out', 'no-leader', 'no-agent'].includes(error.code);
    if (given === null && isUnknown) out.talk(`if a repository was made there all the same, this opens it: ${key}`);
    throw namedAgain(error, target);
  });
  requireDone(outcome, gitlabHint);
  if (!settings.isOn('json')) {
    out.talk(shownLines(outcome.because));
    if (before !== null && before !== target && keyBefore !== key) sayLastKey(context, before, keyBefore);
    if (given === null) sayKey(context, key);
  }
  return { key: given === null ? key : null };
}

/** No place was named by it: what is typed again has to name it, which the usual fix does not. */
function namedAgain(error: unknown, target: string): unknown {
  const usual = new AutogitError('backup', '').hint;
  if (!(error instanceof AutogitError) || error.code !== 'backup' || error.hint !== usual) return error;
  return new AutogitError('backup', error.message, { cause: error, hint: `${usual} --to ${target}` });
}

/** On the terminal, not among the data: what is piped into a file is read by more than one. */
function sayKey({ out }: Context, key: string): void {
  out.talk(`recovery key: ${key}`);
  out.talk(
    'write it down and keep it elsewhere: with it restic alone reads the backups (it is the password of the repository), and without it and this mesh nobody does',
  );
  out.talk('it is shown again by: autogit-node gitlab backup --show-recovery-key');
}

async function showKey({ settings, out }: Context, agent: AgentClient): Promise<number> {
  const { key } = await agent.gitlabRecoveryKey();
  if (settings.isOn('json')) out.json({ recoveryKey: key });
  else out.data(key);
  return exit.ok;
}

/** What opens the backups of now, before the mesh forgets it; null where nobody here can tell, or there are none. */
async function keyOfNow(agent: AgentClient): Promise<string | null> {
  const asked = agent.gitlabRecoveryKey().then(({ key }) => key);
  return asked.catch(() => null);
}

/** Whoever has not written it down has it for the last time. */
function sayLastKey({ out }: Context, target: string, key: string | null): void {
  const which =
    key === null ? 'its own recovery key alone' : 'this recovery key alone, which is shown for the last time';
  out.talk(`what is at ${shown(target)} is opened by ${which}${key === null ? '' : `: ${key}`}`);
}

async function endBackups(context: Context, agent: AgentClient): Promise<number> {
  const { settings, out } = context;
  const target = (await agent.status()).snapshot.gitlab.vault?.target ?? null;
  const key = target === null ? null : await keyOfNow(agent);
  const nothing = { password: '-'.repeat(16), isNew: false, credentials: {}, everyMs: 86_400_000 };
  const outcome = await agent.gitlabVault({ target: null, ...nothing, keep: { daily: 1, weekly: 0, monthly: 0 } });
  requireDone(outcome, gitlabHint);
  if (settings.isOn('json')) out.json({ ...outcome, recoveryKey: key });
  else sentence(out, outcome.because);
  if (target !== null && !settings.isOn('json')) sayLastKey(context, target, key);
  return exit.ok;
}

/** Says what is done as it changes; null when nobody watches any more. */
export async function watched<T>(
  context: Context,
  agent: AgentClient,
  look: (gitlab: GitlabView, all: StatusSnapshot) => T | null,
): Promise<T | null> {
  let said = '';
  return foundIn(context, agent, (all) => {
    const { gitlab } = all;
    const found = look(gitlab, all);
    if (found !== null) return found;
    const { doing } = gitlab.vault ?? {};
    const now = doing ? doing.phase : (gitlab.hosted?.progress?.phase ?? '');
    if (now !== '' && now !== said) context.out.talk(shownLines(now));
    said = now;
    return null;
  });
}

/** ms by which clocks of one LAN differ at most. */
const oldMs = 60_000;

function untilBackedUp(context: Context, agent: AgentClient, before: string | null) {
  const [began, askedAt] = [performance.now(), Date.now()];
  let [known, wasSeen, wasDoing] = [before, false, false];
  const quietFor = quietTimer();
  return watched(context, agent, ({ vault, lastBackup }) => {
    const isDoing = vault?.doing != null;
    wasSeen ||= vault?.doing?.what === 'backup';
    wasDoing ||= wasSeen || performance.now() - began > hearsMs;
    // Whoever makes them had not said anything yet: that is the newest of before.
    const isOld = lastBackup !== null && Date.parse(lastBackup.at) < askedAt - oldMs;
    if (known === null && !wasSeen && isOld) known = lastBackup.id;
    if (lastBackup !== null && lastBackup.id !== known && !isDoing) return lastBackup;
    if (wasDoing && !isDoing && vault?.problem != null) throw failedWith('backup', vault.problem, gitlabHint);
    if (quietFor(!wasDoing || isDoing) >= 2 * hearsMs)
      throw new AutogitError('backup', `${lostWords}: no backup was made`, {
        hint: 'make one now: autogit-node gitlab backup',
      });
    return null;
  });
}
