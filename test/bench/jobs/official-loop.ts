import { setTimeout as sleep } from 'node:timers/promises';
import { createGitlabAdmin } from '../../../gitlab-bridge/gitlab-admin.ts';
import { requestJob, updateJob } from '../../../gitlab-bridge/gitlab-runner.ts';
import { firstByteOf } from './bare-engine.ts';

/** As gitlab-runner asks without long polling: `check_interval`. */
const pollMs = 3_000;

/**
 * The loop of the official runner's docker executor with nothing in it but what it cannot do without: it polls each 3 s,
 * takes the job, makes and starts one container, and hears its first byte. (The official one also starts a helper and
 * fetches the sources first: this floor is lower than it.)
 */
export class OfficialLoop {
  readonly #url: string;
  readonly #token: string;
  readonly #image: string;

  private constructor(url: string, token: string, image: string) {
    this.#url = url;
    this.#token = token;
    this.#image = image;
  }

  /** With a runner of its own, which takes what has that tag. */
  static async start(gitlab: { url: string; token: string }, tag: string, image: string): Promise<OfficialLoop> {
    const admin = createGitlabAdmin({ ...gitlab, timeoutMs: 10_000 });
    const { token } = await admin.createRunner({ tags: [tag], description: 'bench: the official loop' });
    return new OfficialLoop(gitlab.url, token, image);
  }

  /** `pending`: makes a job wait, and answers when it did, by the wall clock. Resolves with ms until its first byte. */
  async once(pending: () => Promise<number>): Promise<number> {
    // The job comes at any moment between two polls.
    const turn = sleep(Math.random() * pollMs);
    const pendingAt = await pending();
    for (let wait: Promise<unknown> = turn; ; wait = sleep(pollMs)) {
      await wait;
      const answer = await requestJob({
        url: this.#url,
        token: this.#token,
        systemId: 'r_bench',
        info: {
          ...{ name: 'bench', version: '1', platform: 'linux', architecture: 'amd64' },
          ...{ executor: 'docker', shell: 'bash', features: { refspecs: true } },
        },
        timeoutMs: 10_000,
      });
      if (answer.kind !== 'job') continue;
      await firstByteOf(this.#image, 'echo began');
      const took = Date.now() - pendingAt;
      await updateJob({ url: this.#url, job: answer.payload.id, token: answer.payload.token }, { state: 'success' });
      return took;
    }
  }
}
