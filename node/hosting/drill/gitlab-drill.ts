import { join } from 'node:path';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { DrillStep } from '../../../protocol/report.ts';
import { listed } from '../../../scheduler/phrases.ts';
import { CloneEnded, type CloneWish, type GitlabClone, type GitlabClones } from '../clone/gitlab-clones.ts';
import {
  countOf,
  database,
  fsck,
  inTime,
  ownChecks,
  refs,
  repositoriesIn,
  secrets,
  secretsFile,
} from './drill-checks.ts';

interface DrillParts {
  clones: Pick<GitlabClones, 'start'>;
  /** Which part of the repositories is read whole. */
  part: number;
  /** Ends it at any moment, without harm. */
  signal: AbortSignal;
  say(phase: string): void;
  onStep(step: DrillStep): void;
}

/** Whether GitLab comes out whole of what `wish` names, and what of it does not. */
export interface DrillEnd {
  isProven: boolean;
  because: string;
  steps: DrillStep[];
}

/** GitLab's image takes minutes for its first start on a slow machine. */
const bootMs = 1_800_000;

type Found = Pick<DrillStep, 'state' | 'sentence'>;

/**
 * A clone, its boot, and looks at all that a person would miss. Each step's time is in the result. What keeps it from a verdict
 * (no room, no image, no engine, an end by `signal`) is thrown, as it says nothing of the data. Nothing is left when it ends.
 */
export async function drill(
  wish: Omit<CloneWish, 'purpose' | 'isPolite' | 'roomBytes'>,
  parts: DrillParts,
): Promise<DrillEnd> {
  const { clones, signal, say } = parts;
  const steps: DrillStep[] = [];
  const step = async (name: string, work: () => Promise<Found> | Found): Promise<Found> => {
    signal.throwIfAborted();
    const began = performance.now();
    const found = await work();
    // What was found while it was ended, such as a program that was killed, says nothing of the data.
    signal.throwIfAborted();
    const done = {
      step: name,
      ...found,
      sentence: asSentence(found.sentence),
      ms: Math.round(performance.now() - began),
    };
    steps.push(done);
    parts.onStep(done);
    return found;
  };
  say('looks for the secrets file');
  const file = await step('secrets file', () => secretsFile(join(wish.source.hot, 'config')));
  if (file.state === 'fail') return verdictOf(steps);
  let clone: GitlabClone | null = null;
  try {
    await step('clone', async () => {
      clone = await clones.start({ ...wish, purpose: 'drill', isPolite: true, roomBytes: 1 << 30 }, { signal, say });
      return { state: 'ok', sentence: 'writable snapshots, in a container without network' };
    });
    await onClone(clone as unknown as GitlabClone, parts, step);
    return verdictOf(steps);
  } finally {
    await (clone as GitlabClone | null)?.end();
  }
}

type Step = (name: string, work: () => Promise<Found> | Found) => Promise<Found>;

async function onClone(clone: GitlabClone, { say, part }: DrillParts, step: Step): Promise<void> {
  say('boots GitLab');
  const boot = await step('boot', () => booted(clone.untilItWorks(bootMs)));
  if (boot.state === 'fail') return;
  say('GitLab looks at itself');
  await step('checks', () => inTime(ownChecks(clone)));
  say('decrypts what is encrypted');
  await step('secrets', () => inTime(secrets(clone)));
  const { paths, strange } = await repositoriesIn(clone.folders.data);
  const far = (what: string) => (done: number) => say(`${what}: ${done} of ${paths.length} repositories`);
  await step(
    'refs',
    async () => countOf(paths, strange) ?? (await inTime(refs(clone, paths, far('follows all refs')))),
  );
  say('reads repositories whole');
  await step('repositories', () => inTime(fsck(clone, paths, part, () => undefined)));
  say('reads the database');
  await step('database', () => inTime(database(clone)));
}

/** That it does not come up is what a drill is to find; that it was ended is not. */
async function booted(works: Promise<number>): Promise<Found> {
  try {
    await works;
    return { state: 'ok', sentence: 'its pages, its API and its own readiness answer' };
  } catch (error) {
    const isVerdict = error instanceof AutogitError && error.code === 'clone' && !(error instanceof CloneEnded);
    if (!isVerdict) throw error;
    return { state: 'fail', sentence: sentenceOf(error) };
  }
}

function verdictOf(steps: DrillStep[]): DrillEnd {
  const failed = steps.filter(({ state }) => state === 'fail');
  const because =
    failed.length === 0
      ? 'GitLab works, and all that was looked at is whole'
      : listed(failed.map(({ sentence }) => sentence));
  return { isProven: failed.length === 0, because: asSentence(because), steps };
}
