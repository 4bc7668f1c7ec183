import { join } from 'node:path';
import type { FailureCause } from '../../../gitlab-bridge/failure-reason.ts';
import { fetchFlags, ignoredOf, isOff, isOn, oddValues } from '../../../gitlab-bridge/job-contract.ts';
import { type JobDependency, timeoutMsOf } from '../../../gitlab-bridge/payload.ts';
import { payloadVariables } from '../../../gitlab-bridge/variables.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { jobPaths } from '../../executors/job-shell.ts';
import { counts } from '../../metrics/counts.ts';
import type { ExecutorSpec, TreeWish, Workspace } from '../../ports.ts';
import { downloadInto } from '../artifact-down.ts';
import { SourcesFailure } from '../git-sources.ts';
import { submoduleSpec, unsupported, warning } from '../job-script.ts';
import { isOver, patiently, type RunContext, section } from '../run-context.ts';
import { abandonMs } from '../run-ending.ts';
import { RunFailed } from '../run-errors.ts';
import { untilMayBegin } from '../run-right.ts';
import { BadCleanFlags } from '../tree-in-place.ts';
import { treeKey, treeUse } from '../tree-plan.ts';
import { restoreCaches } from './caches.ts';
import { endLeftHook, withHooks } from './hooks.ts';
import type { Phase } from './phase.ts';

/** From a job on disk to a tree in which its script can begin. Nothing of the job but its hooks has run when this ends, or fails. */
export const preparing: Phase = {
  name: 'preparing',

  async resume(run) {
    if (run.record.run.startedAt === null) return;
    await clearPlace(run, (left) => endLeftHook(run, left));
    run.trace.say('The agent of this node was restarted: preparing again\n');
    const { hooked, hookedBefore } = run.record.progress;
    if (hooked > 0) await run.record.advance({ hooked: 0, hookedBefore: hookedBefore + hooked });
  },

  async run(run) {
    const { record, ending } = run;
    if (record.run.startedAt === null) await record.keep({ state: 'running', startedAt: run.options.clock.wallMs() });
    // Given up in a turn before this one: nothing is made for it.
    ending.checkGone();
    const { signal } = ending;
    const prepared = prepare(run, async (workspace) => {
      // Made after the run was given up: nobody else will remove it.
      if (signal.aborted && isOver(run)) return workspace.remove();
      run.workspace = workspace;
      await record.save({ handle: workspace.handle });
    });
    run.workspace = await ending.until('preparing the job', prepared, abandonMs.preparing);
  },
};

/** Removes what an agent process before this one left of the place; `before` is done with it first. */
export async function clearPlace(run: RunContext, before?: (left: Workspace) => Promise<void>): Promise<void> {
  const { executor, record, ending, options } = run;
  const clear = async (): Promise<void> => {
    const left = await executor.adopt(run.spec(), record.local.handle ?? '');
    if (left === null) return;
    const warn = (error: Error): void => options.log.warn(`what job ${run.payload.id} had printed: ${error.message}`);
    await before?.(left).catch(warn);
    await left.remove();
  };
  const clearing = clear();
  await ending
    .until('clearing what was left', clearing, abandonMs.place)
    .catch((error: Error) => options.log.warn(error.message));
  ending.check();
}

/** `onMade`: the place exists, its handle is persisted before anything goes into it. */
async function prepare(run: RunContext, onMade: (workspace: Workspace) => Promise<void>): Promise<Workspace> {
  const { trace, payload, options, executor } = run;
  const spec = run.spec();
  trace.say(`Running with autogit-node ${options.version} on ${options.nodeName}\n`, 'header');
  const lacks = unsupported(payload, executor.kind);
  if (lacks !== null) throw new RunFailed('configuration', lacks);
  let workspace: Workspace | null = null;
  await section(run, 'prepare_executor', `Preparing the "${executor.kind}" executor`, async () => {
    if (spec.image) {
      const isUsed = executor.kind === 'docker';
      trace.say(
        isUsed
          ? `Using image ${spec.image} ...\n`
          : warning(`image ${spec.image}: the process executor runs the job on the machine itself`),
      );
    }
    const { leftOut } = payloadVariables(payload);
    if (leftOut.length > 0) trace.say(warning(`variables that no shell can hold: ${leftOut.join(', ')}`));
    const ignored = ignoredOf(payload);
    if (ignored.length > 0) trace.say(warning(`not supported by this version and ignored: ${ignored.join(', ')}`));
    const odd = oddValues(payload);
    if (odd.length > 0)
      trace.say(warning(`neither true, false nor a time as in 1h30m, and ignored: ${odd.join(', ')}`));
    workspace = await makePlace(run, spec, onMade);
  });
  const made = workspace as Workspace | null;
  if (made === null) throw new RunFailed('environment', 'the executor made no place');
  await section(run, 'get_sources', 'Getting source from Git repository', () =>
    withHooks(run, made, () => getSources(run, made)),
  );
  await restoreCaches(run, made);
  const dependencies = payload.dependencies.filter((dependency) => dependency.artifacts_file?.filename);
  if (dependencies.length > 0)
    await section(run, 'download_artifacts', 'Downloading artifacts', () => getDependencies(run, made, dependencies));
  return made;
}

/** What is left of the tree of a job before, as far as this one can use it. */
async function treeWish(run: RunContext, spec: ExecutorSpec): Promise<TreeWish | undefined> {
  const { payload, sources, record } = run;
  const use = treeUse(payload);
  const { project } = spec;
  if (use === null || project === undefined) return undefined;
  const path = jobPaths(spec, '/b').projectDir;
  const isProtected = payload.git_info?.protected === true;
  const key = treeKey({ project, slot: record.progress.slots.project, isProtected, path });
  const isKept =
    use.keepsFiles || (use.strategy !== 'empty' && (await sources.isLarge(payload.git_info?.repo_url ?? '')));
  return { key, project, isKept, isFresh: use.strategy === 'clone', isOnlyLeft: use.strategy === 'none' };
}

async function makePlace(
  run: RunContext,
  spec: ExecutorSpec,
  onMade: (workspace: Workspace) => Promise<void>,
): Promise<Workspace> {
  const { executor, ending, options } = run;
  let told: Workspace | null = null;
  const tell = async (place: Workspace): Promise<void> => {
    told = place;
    await onMade(place);
    if (place.services) return untilMayBegin(run, true);
    // The first step waits for it: it is started, and reads of the run, beside what is fetched now.
    options.watched?.(spec.run, ending.signal).catch(() => undefined);
  };
  try {
    const place = await executor.prepare({ ...spec, tree: await treeWish(run, spec) }, ending.signal, tell);
    if (told !== place) await tell(place);
    counts.place(executor.kind, 'made');
    return place;
  } catch (error) {
    ending.check();
    counts.place(executor.kind, 'failed');
    if (error instanceof RunFailed || !(error instanceof AutogitError)) throw error;
    const causes: Partial<Record<string, FailureCause>> = {
      'image-missing': 'image-pull',
      'registry-away': 'registry',
      'image-unusable': 'script',
      'bad-config': 'configuration',
      'no-docker': 'system',
      'home-unwritable': 'system',
    };
    const cause = causes[error.code] ?? 'environment';
    throw new RunFailed(cause, `${error.message}; ${error.hint}`, null, error.server);
  }
}

const leastTreeMs = 60_000;

async function getSources(run: RunContext, workspace: Workspace): Promise<void> {
  const { payload, trace, sources, options } = run;
  const use = treeUse(payload);
  if (use?.strategy === 'none' && workspace.tree?.isLeft)
    return trace.say('Skipping Git repository setup: the tree is as the job before it left it here\n');
  if (use?.strategy === 'none' || use?.strategy === 'empty') return trace.say('Skipping Git repository setup\n');
  const { repo_url, sha, ref, refspecs, depth } = payload.git_info ?? {};
  if (!repo_url || !sha) throw new RunFailed('unclear', 'GitLab gave the job no repository');
  trace.say(depth ? `Fetching changes with git depth set to ${depth}...\n` : 'Fetching changes...\n');
  const spec = {
    gitlabUrl: options.gitlabUrl() ?? run.job().url,
    repoUrl: repo_url,
    token: payload.token,
    sha,
    ref: ref ?? 'HEAD',
    refspecs: refspecs ?? [],
    depth: depth ?? 0,
    tags: fetchFlags(payload).tags,
    isCheckedOut: !isOff(payload, 'GIT_CHECKOUT'),
    lfs: !isOn(payload, 'GIT_LFS_SKIP_SMUDGE'),
    submodules: submoduleSpec(payload),
    // A new tree has the rest of the job's time.
    treeLimitMs: Math.max(leastTreeMs, timeoutMsOf(payload) / 3),
  };
  if (spec.submodules && spec.isCheckedOut) {
    const { isRecursive, depth: modulesDepth } = spec.submodules;
    const how = `${isRecursive ? ' recursively' : ''}${modulesDepth > 0 ? ` with git depth set to ${modulesDepth}` : ''}`;
    trace.say(`Updating/initializing submodules${how}...\n`);
  }
  await patiently(run, 'fetching the sources', async () => {
    try {
      const { tree = null } = workspace;
      const { cleanFlags = null, keepsFiles = false } = use ?? {};
      const wanted = { ...spec, gitlabUrl: options.gitlabUrl() ?? spec.gitlabUrl };
      const got = await sources.fetch(wanted, run.ending.signal, tree && { tree, cleanFlags, keepsFiles });
      try {
        for (const tar of [got.tar, ...got.lfs]) if (tar) await workspace.putTar('.', tar);
      } finally {
        await got.remove();
      }
      trace.say(`${[got.sentence, ...got.said].join('\n')}\n`);
      return { kind: 'ok' };
    } catch (error) {
      if (error instanceof RunFailed) throw error;
      if (error instanceof SourcesFailure && error.isAway) return { kind: 'away', because: error.message };
      const hint = error instanceof AutogitError ? `; ${error.hint}` : '';
      return {
        kind: 'refused',
        because: `${sentenceOf(error)}${hint}`,
        disowned: false,
        isJobs: error instanceof BadCleanFlags,
        ...(error instanceof SourcesFailure ? sourcesCause(error) : { cause: 'environment' }),
      };
    }
  });
}

/** What git says is GitLab's word, but for a disk of this machine that is full. */
const sourcesCause = ({ message }: SourcesFailure): { cause?: FailureCause } =>
  /no space left on device|disk quota exceeded/i.test(message) ? { cause: 'system' } : {};

async function getDependencies(
  run: RunContext,
  workspace: Workspace,
  dependencies: readonly JobDependency[],
): Promise<void> {
  for (const { id, name, token } of dependencies) {
    run.trace.say(`Downloading artifacts for ${name ?? 'job'} (${id})...\n`);
    await patiently(run, `downloading artifacts of ${name ?? id}`, async () => {
      try {
        const line = { ...run.job(), job: id, token };
        const file = join(run.folder, 'download.zip');
        const answer = await downloadInto(workspace, line, file, run.ending.signal, (said) => {
          run.trace.say(warning(said));
        });
        return answer.kind === 'refused' ? { ...answer, disowned: false } : answer;
      } catch (error) {
        return { kind: 'refused', because: sentenceOf(error), disowned: false, cause: 'environment' };
      }
    });
    run.trace.say(`Downloading artifacts for ${name ?? 'job'} (${id})... ok\n`);
  }
}
