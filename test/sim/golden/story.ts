import { Stage } from './stage.ts';

/** A situation that a user would name, and how it is played. */
export interface Story {
  /** Also the name of its file. */
  name: string;
  about: string;
  play: () => Stage;
}

export const three = (): Stage => new Stage();

/** A job of an hour, begun on the one machine that fits its tags. */
export function running(stage: Stage, tags: string[], durationMs = 3_600_000, retries = 1): void {
  const job = stage.job(tags, durationMs, retries);
  stage.until('the job runs', () => job.status === 'running');
  stage.wait(3000);
}
