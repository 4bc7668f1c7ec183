import { startPractice } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { rake, runner } from './console.ts';
import { settings } from './gitlab-rb.ts';
import { reconfigure } from './reconfigure.ts';

/** The one program of ours in the image: what its commands call, and what stands in Rails' place. */
async function puma(): Promise<void> {
  await startPractice({
    dataDir: '/opt/gitlab/stand-in/data',
    port: 8080,
    externalUrl: process.env.GITLAB_URL as string,
    log: (line) => console.log(line),
  });
  await new Promise((done) => process.once('SIGTERM', done));
}

const [, , word, ...rest] = process.argv;
if (word === 'puma') puma().then(() => process.exit(0));
else if (word === 'reconfigure')
  reconfigure().catch((error: Error) => {
    console.error(error.message);
    process.exit(1);
  });
else if (word === 'rails') process.exit(rest[0] === 'runner' ? runner(rest[1] ?? '') : 1);
else if (word === 'rake') process.exit(rake(rest[0] ?? ''));
else if (word === 'show-config') console.log(JSON.stringify(Object.fromEntries(settings()), null, 2));
