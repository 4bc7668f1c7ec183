import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { uploadArtifact } from '../../gitlab-bridge/artifact-transfer.ts';
import { lookUpIn } from '../../gitlab-bridge/variables.ts';
import type { Workspace } from '../ports.ts';
import { collectArtifact } from './artifact-up.ts';
import { expandArtifact, isUploaded, warning } from './job-script.ts';
import { Gone, RunFailed } from './run-host.ts';
import { patiently, type RunScene, section } from './run-scene.ts';
import { PackProblem } from './spool-file.ts';

/** Packing that takes longer is given up. */
const mostPackingMs = 3_600_000;
/** GitLab's own limit counts packed bytes and comes in no payload; this one is met before a byte is read. */
export const defaultArtifactLimitBytes = 10 * 2 ** 30;

/** Sends the artifacts that this end of the job asks for; `done` persists each, so that none goes up twice. */
export async function uploadArtifacts(
  scene: RunScene,
  workspace: Workspace,
  isSuccess: boolean,
  uploaded: number,
  done: (uploaded: number) => Promise<void>,
): Promise<void> {
  const wanted = scene.payload.artifacts.filter(({ when }) => isUploaded(when, isSuccess));
  if (wanted.length === 0 || uploaded >= wanted.length) return;
  const name = `upload_artifacts_on_${isSuccess ? 'success' : 'failure'}`;
  const title = `Uploading artifacts for ${isSuccess ? 'successful' : 'failed'} job`;
  await section(scene, name, title, async () => {
    const lookUp = lookUpIn(scene.variables(workspace), workspace.projectDir);
    for (const [index, artifact] of wanted.entries()) {
      if (index < uploaded) continue;
      await uploadOne(scene, workspace, expandArtifact(artifact, lookUp));
      await done(index + 1);
    }
  });
}

async function uploadOne(
  scene: RunScene,
  workspace: Workspace,
  artifact: Parameters<typeof collectArtifact>[1],
): Promise<void> {
  const { trace } = scene;
  const file = join(scene.folder, 'upload');
  trace.say('Uploading artifacts...\n');
  try {
    const signal = AbortSignal.any([scene.signal, AbortSignal.timeout(mostPackingMs)]);
    const limitBytes = scene.options.artifactLimitBytes ?? defaultArtifactLimitBytes;
    const { upload, said } = await collectArtifact(workspace, artifact, file, { limitBytes, signal });
    for (const { text, isWarning } of said) trace.say(isWarning ? warning(text) : `${text}\n`);
    if (upload === null) return trace.say('No files to upload\n');
    await patiently(scene, 'uploading artifacts', () => uploadArtifact(scene.line(), upload, { signal: scene.signal }));
    trace.say(`Uploading artifacts as "${upload.type}" to coordinator... 201 Created\n`);
  } catch (error) {
    if (error instanceof RunFailed || error instanceof Gone) throw error;
    scene.checkEnd();
    // A deadline, a limit and a pattern are the job's own; a full disk or a broken executor is this machine's.
    const isJobs = error instanceof PackProblem ? error.isJobs : (error as Error).name === 'TimeoutError';
    const because = (error as Error).name === 'TimeoutError' ? 'it took longer than an hour' : (error as Error).message;
    throw new RunFailed(isJobs ? 'script' : 'system', `artifacts cannot be collected: ${because}`);
  } finally {
    await rm(file, { force: true }).catch(() => undefined);
  }
}
