import { lstatSync } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { DrillStep } from '../../../protocol/report.ts';
import { drillParts } from '../../../scheduler/hosting/drill-rules.ts';
import { listed, plural } from '../../../scheduler/phrases.ts';
import { shown } from '../../foreign-text.ts';
import { redact } from '../../log.ts';
import type { GitlabClone } from '../clone/gitlab-clones.ts';
import { readSmallFile } from '../small-file.ts';
import { databaseScript, fsckScript, refsScript } from './drill-scripts.ts';

type Found = Pick<DrillStep, 'state' | 'sentence'>;
type Inside = Pick<GitlabClone, 'exec' | 'folders'>;

/** ms; what has not ended by then is a failure: a person could not wait for it either. */
const limits = { check: 900_000, secrets: 1_800_000, batch: 1_800_000, database: 3_600_000 } as const;
/** Repositories for one call, so that the next can say how far it is, and an end is not waited for. */
const batchSize = 50;
const mostSaid = 3;

const ok = (sentence: string): Found => ({ state: 'ok', sentence });
const fail = (sentence: string): Found => ({ state: 'fail', sentence });
const clean = (text: string): string => redact(shown(text)).slice(0, 200);

/** The file without which nothing that GitLab keeps secret can be read, before a start makes another one in its place. */
export function secretsFile(config: string): Found {
  const path = join(config, 'gitlab-secrets.json');
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true)
    return fail('gitlab-secrets.json is not there: nothing that is encrypted can be read without it');
  try {
    z.looseObject({ gitlab_rails: z.looseObject({}) }).parse(JSON.parse(readSmallFile(path)));
    return ok('gitlab-secrets.json is there and whole');
  } catch {
    return fail('gitlab-secrets.json is damaged: nothing that is encrypted can be read without it');
  }
}

/** GitLab's own look at itself. Its exit code tells of what is broken; what it would like to be otherwise it says in words. */
export async function ownChecks(clone: Inside): Promise<Found> {
  const { code, out } = await clone.exec(['gitlab-rake', 'gitlab:check', 'SANITIZE=true'], { timeoutMs: limits.check });
  const lines = plain(out).split('\n');
  // A "no" may be the good answer (`GitLab config outdated? ... no`): what is wrong has its advice below it.
  const advised = lines.filter((_, at) => /^\s*Try fixing it:/i.test(lines[at + 1] ?? ''));
  const bad = code !== 0 && advised.length === 0 ? lines.filter((line) => /\.\.\. no\b/.test(line)) : advised;
  const named = listed(bad.slice(0, mostSaid).map((line) => clean(line.trim())));
  if (code !== 0) return fail(`gitlab:check fails${named === '' ? ` with exit code ${code}` : `: ${named}`}`);
  return bad.length === 0
    ? ok('gitlab:check finds nothing wrong')
    : { state: 'warn', sentence: `gitlab:check says: ${named}` };
}

/** Without the colours of a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is how they begin
const plain = (line: string): string => line.replace(/\u001b\[[\d;]*m/g, '');

/** Whether all that is encrypted can be read with the secrets file that lies beside it. */
export async function secrets(clone: Inside): Promise<Found> {
  const { code, out } = await clone.exec(['gitlab-rake', 'gitlab:doctor:secrets'], { timeoutMs: limits.secrets });
  const affected = /Total:\s*(\d+) row\(s\) affected/.exec(plain(out))?.[1];
  if (affected === undefined) return fail(`gitlab:doctor:secrets fails with exit code ${code}: ${lastLine(out)}`);
  if (affected !== '0') return fail(`${affected} rows of the database cannot be decrypted with the secrets file`);
  return ok('all that is encrypted can be read');
}

const lastLine = (out: string): string => clean(plain(out).trim().split('\n').at(-1) ?? '');

/**
 * Every repository of the clone, as its container has it. Names are a stranger's: one that a line cannot hold is `strange`.
 */
export async function repositoriesIn(data: string): Promise<{ paths: string[]; strange: number }> {
  const paths: string[] = [];
  let strange = 0;
  const walk = async (folder: string, depth: number): Promise<void> => {
    const entries = await opendir(join(data, folder)).catch(() => null);
    if (entries === null) return;
    for await (const entry of entries) {
      if (!entry.isDirectory() || entry.name === '+gitaly') continue;
      const at = `${folder}/${entry.name}`;
      if (!entry.name.endsWith('.git')) {
        if (depth < 8) await walk(at, depth + 1);
      } else if (/[\n\r\t]/.test(at)) strange += 1;
      else paths.push(`/var/opt/gitlab${at}`);
    }
  };
  await walk('/git-data/repositories', 0);
  return { paths: paths.sort(), strange };
}

/** Which of the parts a repository is of: the same one for ever, whatever comes and goes beside it. */
export function partOf(path: string): number {
  let sum = 0;
  for (const letter of path) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 1_000_003;
  return sum % drillParts;
}

export async function refs(clone: Inside, paths: readonly string[], say: (done: number) => void): Promise<Found> {
  const bad = await overAll(clone, refsScript, paths, say);
  if (bad.length > 0) return damaged(bad, 'refs that lead nowhere');
  return ok(`all refs of ${repositories(paths.length)} lead to objects`);
}

export async function fsck(
  clone: Inside,
  paths: readonly string[],
  part: number,
  say: (done: number) => void,
): Promise<Found> {
  const mine = paths.filter((path) => partOf(path) === part);
  const bad = await overAll(clone, fsckScript, mine, say);
  if (bad.length > 0) return damaged(bad, 'damaged objects');
  return ok(`${mine.length} of ${repositories(paths.length)} read whole (part ${part + 1} of ${drillParts})`);
}

const repositories = (count: number): string => (count === 1 ? '1 repository' : `${count} repositories`);

const damaged = (bad: readonly Bad[], what: string): Found =>
  fail(
    `${bad.length === 1 ? 'a repository has' : `${bad.length} repositories have`} ${what}: ${listed(bad.slice(0, mostSaid).map(({ at, said }) => `${at} (${said})`))}`,
  );

interface Bad {
  at: string;
  said: string;
}

const badIn = (out: string): Bad[] =>
  out.split('\n').flatMap((line) => {
    const [mark, at = '', said = ''] = line.split('\t');
    return mark === 'bad'
      ? [{ at: clean(at.replace('/var/opt/gitlab/git-data/repositories/', '')), said: clean(said) }]
      : [];
  });

async function overAll(
  clone: Inside,
  script: string,
  paths: readonly string[],
  say: (done: number) => void,
): Promise<Bad[]> {
  const bad: Bad[] = [];
  for (let at = 0; at < paths.length; at += batchSize) {
    say(at);
    const batch = paths.slice(at, at + batchSize);
    const argv = ['chpst', '-u', 'git', 'sh', '-c', script];
    const { code, out } = await clone.exec(argv, { input: `${batch.join('\n')}\n`, timeoutMs: limits.batch });
    bad.push(...badIn(out));
    // What did not read all of them has proved nothing.
    if (!out.includes(`done ${batch.length}\n`))
      bad.push({ at: 'git', said: `ended early with exit code ${code}: ${lastLine(out)}` });
  }
  return bad;
}

export async function database(clone: Inside): Promise<Found> {
  const argv = ['chpst', '-u', 'gitlab-psql', 'sh', '-c', databaseScript];
  const { code, out } = await clone.exec(argv, { timeoutMs: limits.database });
  const bad = badIn(out);
  if (bad.length > 0)
    return fail(`the database is damaged: ${listed(bad.slice(0, mostSaid).map(({ at, said }) => `${at} (${said})`))}`);
  const done = /^done (.+)$/m.exec(out)?.[1];
  return done === undefined ? fail(`the database was not read: exit code ${code}, ${lastLine(out)}`) : ok(clean(done));
}

/** A check that did not come to its end in its time has failed; everything else that is thrown is no verdict. */
export async function inTime(check: Promise<Found>): Promise<Found> {
  try {
    return await check;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'timed-out') return fail(sentenceOf(error));
    throw error;
  }
}

export const countOf = (paths: readonly string[], strange: number): Found | null =>
  strange === 0 ? null : fail(`${plural(strange, 'repository name')} of ${paths.length + strange} cannot be read`);
