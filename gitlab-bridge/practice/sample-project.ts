import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { AutogitError } from '../../protocol/errors.ts';
import { gitEnvironment } from './git-repository.ts';

/** The project that the demo runs: ten small jobs in three stages, bash only, nothing from a network. */
interface SampleProject {
  path: string;
  files: Record<string, string>;
}

const config = `# Sample project of autogit-node: ten small jobs for three machines.
stages: [build, test, deploy]

variables:
  LIMIT: "2000"

default:
  timeout: 5m
  retry:
    max: 2
    when: [runner_system_failure]
  before_script:
    - echo "job $CI_JOB_NAME of pipeline $CI_PIPELINE_ID on $CI_COMMIT_REF_NAME"

.slowly:
  after_script:
    - echo "after_script, the job's status is $CI_JOB_STATUS"

words:
  stage: build
  script:
    - bash scripts/words.sh 400
  artifacts:
    paths: [out/words.txt]
    expire_in: 1 day

primes:
  stage: build
  tags: [cpu-1]
  extends: .slowly
  script:
    - bash scripts/primes.sh "$LIMIT"
  artifacts:
    paths: [out/primes.txt]
    expire_in: 1 day

weights:
  stage: build
  tags: [gpu]
  extends: .slowly
  script:
    - bash scripts/train.sh 8
  artifacts:
    paths: [out/weights.txt]
    expire_in: 1 day

lint:
  stage: test
  needs: []
  script:
    - for file in scripts/*.sh; do bash -n "$file" && echo "ok $file"; sleep 0.2; done

count-words:
  stage: test
  needs: [words]
  script:
    - test -s out/words.txt
    - bash scripts/count.sh out/words.txt | tee out/count.txt
  artifacts:
    paths: [out/count.txt]

check-primes:
  stage: test
  tags: [cpu-1]
  needs: [primes]
  script:
    - bash scripts/check-primes.sh out/primes.txt "$LIMIT"

evaluate:
  stage: test
  tags: [gpu]
  needs: [weights]
  extends: .slowly
  script:
    - bash scripts/evaluate.sh out/weights.txt | tee out/score.txt
  artifacts:
    paths: [out/score.txt]

shuffle:
  stage: test
  dependencies: [words]
  parallel: 2
  script:
    - test ! -e out/primes.txt
    - sort -R out/words.txt | head -n 5
    - for step in 1 2 3 4; do echo "part $CI_NODE_INDEX of $CI_NODE_TOTAL, step $step of 4"; sleep 0.25; done

report:
  stage: deploy
  dependencies: [count-words, evaluate]
  extends: .slowly
  script:
    - bash scripts/report.sh
  artifacts:
    paths: [report.md]
`;

const files: Record<string, string> = {
  '.gitlab-ci.yml': config,
  'README.md': '# Sample project\n\nMade by autogit-node for its demo: ten small jobs in three stages.\n',
  'scripts/words.sh': `set -eu
mkdir -p out
syllables=(lam ot ter cor al six ty kan gar bo ne fi)
: > out/words.txt
for ((n = 1; n <= $1; n++)); do
  echo "\${syllables[n * 7 % 12]}\${syllables[n * 5 % 12]}\${syllables[n / 12 % 12]}" >> out/words.txt
  if ((n % 100 == 0)); then echo "$n of $1 words"; sleep 0.3; fi
done
`,
  'scripts/primes.sh': `set -eu
mkdir -p out
: > out/primes.txt
for ((n = 2; n <= $1; n++)); do
  prime=1
  for ((d = 2; d * d <= n; d++)); do if ((n % d == 0)); then prime=0; break; fi; done
  if ((prime)); then echo "$n" >> out/primes.txt; fi
  if ((n % 250 == 0)); then echo "looked at $n of $1"; sleep 0.15; fi
done
echo "$(wc -l < out/primes.txt) primes"
`,
  'scripts/check-primes.sh': `set -eu
expected=$(factor $(seq 2 "$2") | awk 'NF == 2' | wc -l)
found=$(wc -l < "$1")
echo "expected $expected primes, found $found"
sleep 0.5
test "$expected" -eq "$found"
`,
  'scripts/train.sh': `set -eu
mkdir -p out
weight=1000
for ((epoch = 1; epoch <= $1; epoch++)); do
  weight=$((weight - weight / 4))
  echo "epoch $epoch of $1: loss 0.$((weight + 100))"
  sleep 0.4
done
echo "$weight" > out/weights.txt
`,
  'scripts/evaluate.sh': `set -eu
weight=$(cat "$1")
for part in 1 2 3 4; do echo "part $part of 4 evaluated"; sleep 0.3; done
echo "score $((1000 - weight)) of 1000"
`,
  'scripts/count.sh': `set -eu
echo "$(wc -l < "$1") words, $(sort -u "$1" | wc -l) different"
sort "$1" | uniq -c | sort -rn | head -n 3
sleep 0.5
`,
  'scripts/report.sh': `set -eu
test ! -e out/words.txt
{ echo "# Report of $CI_COMMIT_SHORT_SHA"; cat out/count.txt out/score.txt; } > report.md
cat report.md
sleep 0.5
`,
};

export const sampleProject = (): SampleProject => ({ path: 'sample', files });

const author = {
  GIT_AUTHOR_NAME: 'autogit-node',
  GIT_AUTHOR_EMAIL: 'demo@autogit-node.invalid',
  GIT_COMMITTER_NAME: 'autogit-node',
  GIT_COMMITTER_EMAIL: 'demo@autogit-node.invalid',
};

const git = (folder: string, args: string[], env: NodeJS.ProcessEnv): Promise<void> =>
  new Promise((resolve, reject) => {
    const child = spawn('git', args, {
      cwd: folder,
      env: { ...gitEnvironment(), ...author, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let words = '';
    child.stderr.on('data', (part: Buffer) => {
      if (words.length < 4000) words += part.toString('utf8');
    });
    child.on('error', (cause) =>
      reject(new AutogitError('unsupported', 'git cannot be started', { cause, hint: 'install git' })),
    );
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new AutogitError('gitlab-answer', `git ${args[0]}: ${words.trim() || `ended with ${code}`}`));
    });
  });

/** Commits the files on `main` and pushes them over HTTP. The token travels by environment, never as an argument. */
export const pushFiles = async (
  repository: string,
  token: string,
  files: Record<string, string>,
  message = 'Sample project',
): Promise<void> => {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-sample-'));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const basic = Buffer.from(`oauth2:${token}`).toString('base64');
    const secret = {
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'http.extraHeader',
      GIT_CONFIG_VALUE_0: `Authorization: Basic ${basic}`,
    };
    await git(folder, ['init', '--quiet', '--initial-branch=main', '.'], {});
    await git(folder, ['add', '--all'], {});
    await git(folder, ['commit', '--quiet', '--message', message], {});
    await git(folder, ['push', '--quiet', '--force', repository, 'HEAD:refs/heads/main'], secret);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};

const answer = z.object({ id: z.number(), http_url_to_repo: z.string() });

/** Creates the project and pushes its first commit, which starts a pipeline. Returns the project's id. */
export const seedProject = async (
  practice: { url: string; adminToken: string },
  sample: SampleProject,
): Promise<number> => {
  const response = await fetch(`${practice.url}/api/v4/projects`, {
    method: 'POST',
    headers: { 'PRIVATE-TOKEN': practice.adminToken, 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: sample.path, path: sample.path }),
  });
  const text = await response.text();
  if (response.status !== 201)
    throw new AutogitError('gitlab-answer', `the project was not created (${response.status}): ${text.slice(0, 300)}`);
  const project = answer.parse(JSON.parse(text));
  await pushFiles(project.http_url_to_repo, practice.adminToken, sample.files);
  return project.id;
};
