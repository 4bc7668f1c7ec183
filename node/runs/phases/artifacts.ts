import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { uploadArtifact } from '../../../gitlab-bridge/artifact-transfer.ts';
import { lookUpIn } from '../../../gitlab-bridge/variables.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { Workspace } from '../../ports.ts';
import { collectArtifact } from '../artifact-up.ts';
import { expandArtifact, isUploaded, warning } from '../job-script.ts';
import { patiently, placeOf, type RunContext, section } from '../run-context.ts';
import { abandonMs } from '../run-ending.ts';
import { Gone, RunFailed } from '../run-errors.ts';
import { PackProblem } from '../spool-file.ts';
import { saveCaches } from './caches.ts';
import type { Phase } from './phase.ts';
import { adoptPlace } from './script.ts';

/** Packing that takes longer is given up. */
const mostPackingMs = 3_600_000;
/** GitLab's own limit counts packed bytes and comes in no payload; this one is met before a byte is read. */
const defaultArtifactLimitBytes = 10 * 2 ** 30;

/** Keeps the job's caches, then sends the artifacts that this end of it asks for; each is persisted, so that none goes up twice. */
export const artifacts: Phase = {
  name: 'artifacts',

  resume: adoptPlace,

  async run(run) {
    const { record, ending, trace } = run;
    // What ended it behind its last step: it keeps nothing that only a success is to keep.
    if (record.progress.verdict.state === 'success' && ending.verdict !== null)
      await record.advance({ verdict: ending.verdict });
    const isSuccess = record.progress.verdict.state === 'success';
    ending.renew();
    await saveCaches(run, isSuccess);
    run.uploadTime.begin();
    try {
      await ending.until('uploading artifacts', uploadArtifacts(run, isSuccess), abandonMs.artifacts);
    } catch (error) {
      if (isSuccess || !(error instanceof RunFailed)) throw error;
      // Why the job failed stays why it failed.
      trace.say(warning(error.message), 'no-artifacts');
      if (ending.verdict?.state === 'canceled') throw new RunFailed('script', ending.verdict.because);
    }
  },
};

async function uploadArtifacts(run: RunContext, isSuccess: boolean): Promise<void> {
  const { uploaded } = run.record.progress;
  const workspace = placeOf(run);
  const wanted = run.payload.artifacts.filter(({ when }) => isUploaded(when, isSuccess));
  if (wanted.length === 0 || uploaded >= wanted.length) return;
  const name = `upload_artifacts_on_${isSuccess ? 'success' : 'failure'}`;
  const title = `Uploading artifacts for ${isSuccess ? 'successful' : 'failed'} job`;
  await section(run, name, title, async () => {
    const lookUp = lookUpIn(run.variables(workspace), workspace.projectDir);
    for (const [index, artifact] of wanted.entries()) {
      if (index < uploaded) continue;
      await uploadOne(run, workspace, expandArtifact(artifact, lookUp));
      await run.record.advance({ uploaded: index + 1 });
    }
  });
}

async function uploadOne(
  run: RunContext,
  workspace: Workspace,
  artifact: Parameters<typeof collectArtifact>[1],
): Promise<void> {
  const { trace } = run;
  const file = join(run.folder, 'upload');
  trace.say('Uploading artifacts...\n');
  try {
    const signal = AbortSignal.any([run.ending.signal, AbortSignal.timeout(mostPackingMs)]);
    const limitBytes = run.options.artifactLimitBytes ?? defaultArtifactLimitBytes;
    const { upload, said: lines } = await collectArtifact(workspace, artifact, file, { limitBytes, signal });
    for (const { text, isWarning } of lines) trace.say(isWarning ? warning(text) : `${text}\n`);
    if (upload === null) return trace.say('No files to upload\n');
    const send = () => uploadArtifact(run.job(), upload, { signal: run.ending.signal });
    const { isThere } = await patiently(run, 'uploading artifacts', send);
    const said = isThere ? 'GitLab has it from this job already' : '201 Created';
    trace.say(`Uploading artifacts as "${upload.type}" to coordinator... ${said}\n`);
  } catch (error) {
    if (error instanceof RunFailed || error instanceof Gone) throw error;
    run.ending.check();
    // A deadline, a limit and a pattern are the job's own; a full disk or a broken executor is this machine's.
    const isJobs = error instanceof PackProblem ? error.isJobs : (error as Error).name === 'TimeoutError';
    const because = (error as Error).name === 'TimeoutError' ? 'it took longer than an hour' : sentenceOf(error);
    const machines = error instanceof PackProblem ? 'system' : 'environment';
    throw new RunFailed(isJobs ? 'script' : machines, `artifacts cannot be collected: ${because}`);
  } finally {
    await rm(file, { force: true }).catch(() => undefined);
  }
}
