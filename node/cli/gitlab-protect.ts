import { setTimeout as sleep } from 'node:timers/promises';
import type { BackupRow } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { shown } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import type { ProtectPlan } from '../local-api/socket-protocol.ts';
import { agentOf, type Context } from './context.ts';
import { exit, gitlabHint, requireDone } from './failure.ts';
import { backUpTo, checkPlace } from './gitlab-backup.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { requireFit } from './plan-lines.ts';
import { isAgreed } from './prompt.ts';

/**
 * `gitlab protect`: a GitLab that runs without the mesh is backed up by it, and nothing of that GitLab is changed. Looks, says
 * what it found and what it costs, asks, and makes the first backup.
 */
export async function protect(context: Context): Promise<number> {
  const { settings, args } = context;
  const isEnd = settings.isOn('gitlab.end');
  const target = settings.text('gitlab.to');
  if (!isEnd && target !== null) checkPlace(settings, target);
  const agent = await agentOf(context);
  if (isEnd) return end(context, agent);
  const wish = { on: settings.text('gitlab.on'), container: args[0] ?? null };
  const plan = await agent.gitlabProtection(wish);
  requireFit(context, plan, {
    nothing: `no GitLab on ${plan.host} is protected`,
    otherwise: 'what each line above says; then the same command again',
  });
  if (target === null && plan.target === null)
    throw new AutogitError('bad-flag', 'where its backups shall go is not said', {
      hint: 'a folder on another disk: autogit-node gitlab protect --to /mnt/disk/gitlab',
    });
  if (!(await isWanted(context, plan, target))) return exit.failed;
  requireDone(await agent.gitlabProtect(wish), gitlabHint);
  return backUpTo(context, agent, target, untilKnown);
}

async function isWanted(context: Context, plan: ProtectPlan, target: string | null): Promise<boolean> {
  const where = shown(target ?? plan.target ?? '');
  const question = `Back up GitLab in container ${shown(plan.found?.container ?? '')} on ${plan.host} to ${where}, now and by itself from then on? Nothing of it is changed.`;
  return isAgreed(`GitLab on ${plan.host} shall be backed up`, question, promptOf(context));
}

/** Its machine hears of it a moment after the mesh has committed it. */
const triesMost = 10;
async function untilKnown<T>(ask: () => Promise<T>): Promise<T> {
  for (let left = triesMost; ; left -= 1)
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof AutogitError) || error.code !== 'no-gitlab' || left === 0) throw error;
      await sleep(500);
    }
}

async function end({ settings, out }: Context, agent: AgentClient): Promise<number> {
  const outcome = await agent.gitlabUnprotect();
  requireDone(outcome, gitlabHint);
  if (settings.isOn('json')) out.json(outcome);
  else sentence(out, outcome.because);
  return exit.ok;
}

type Protected = NonNullable<StatusSnapshot['gitlab']['protected']>;

/** A GitLab that is a person's own is not put back by the mesh: what can be done with that backup, to the letter. */
export function whyNotRestored(row: BackupRow, known: Protected, target: string | null): AutogitError {
  if (row.on)
    return new AutogitError(
      'unsupported',
      `GitLab in container ${known.container} on ${known.node} is not the mesh's, which puts nothing back into it`,
      {
        hint: `its files of then, on ${known.node}: ${row.because.replace(/^.*: /, '')}/data has its data (cp -a --reflink=auto what you need, with GitLab stopped for all of it); into one that the mesh runs go backups: autogit-node gitlab history`,
      },
    );
  const where = target ?? 'TARGET';
  const tool = `restic -r ${where} restore ${row.id} --target DIR, with the recovery key as its password (autogit-node gitlab backup --show-recovery-key)`;
  const how =
    known.way === 'own'
      ? `its files: ${tool}; then in a container of GitLab ${row.version}: config back to /etc/gitlab, the tar to its backups, gitlab-backup restore`
      : `into one that the mesh runs: autogit-node gitlab disconnect where it is connected, autogit-node gitlab deploy --image with version ${row.version}, then autogit-node gitlab restore ${row.id}; or its files alone: ${tool}`;
  return new AutogitError(
    'unsupported',
    `GitLab in container ${known.container} on ${known.node} is not the mesh's, which puts nothing back into it`,
    { hint: how },
  );
}
