import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { uploadArtifact } from '../../gitlab-bridge/gitlab-runner.ts';
import { lookUpIn } from '../../gitlab-bridge/variables.ts';
import type { Workspace } from '../ports.ts';
import { collectArtifact } from './artifact-up.ts';
import { expandArtifact, isUploaded, warning } from './job-script.ts';
import { Gone, RunFailed } from './run-host.ts';
import { patiently, type RunScene, section } from './run-scene.ts';

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
    const { upload, said } = await collectArtifact(workspace, artifact, file);
    for (const { text, isWarning } of said) trace.say(isWarning ? warning(text) : `${text}\n`);
    if (upload === null) return trace.say('No files to upload\n');
    await patiently(scene, 'uploading artifacts', () => uploadArtifact(scene.line(), upload, { signal: scene.signal }));
    trace.say(`Uploading artifacts as "${upload.type}" to coordinator... 201 Created\n`);
  } catch (error) {
    if (error instanceof RunFailed || error instanceof Gone) throw error;
    scene.checkEnd();
    throw new RunFailed('system', `artifacts cannot be collected: ${(error as Error).message}`);
  } finally {
    await rm(file, { force: true }).catch(() => undefined);
  }
}
