import { Stage } from './stage.ts';
import type { Story } from './story.ts';

/** GitLab on kang, copies on both desktops, which are in sync. */
function hosted(): Stage {
  const stage = new Stage(['kang', 'desktop-1', 'desktop-2'], true);
  stage.until('both are in sync', () => stage.hosting?.copies?.set.members.length === 2);
  return stage;
}

const hostOf = (stage: Stage): string | undefined =>
  stage.hosting ? stage.world.machine(stage.hosting.host).name : undefined;

/** Which machines are there, and what becomes of GitLab (SAFETY H7, H10, L13). */
export const hostingStories: Story[] = [
  {
    name: 'two of three are shut down',
    about:
      'kang runs GitLab, and both desktops hold copies of it. kang and desktop-2 are shut down, one after the other, as one does. desktop-1 is left; in the morning both are back.',
    play: () => {
      const stage = hosted();
      stage.status();
      stage.act('desktop-2 is shut down', () => stage.shutDown('desktop-2'));
      stage.wait(10_000);
      stage.status();
      stage.act('kang is shut down', () => stage.shutDown('kang'));
      stage.wait(20_000);
      stage.must('nobody goes on within the grace', hostOf(stage) === 'kang');
      stage.status();
      stage.wait(60_000);
      stage.must('desktop-1 goes on alone, with all of it', hostOf(stage) === 'desktop-1');
      stage.status();
      stage.act('kang and desktop-2 are back', () => stage.powerOn('kang', 'desktop-2'));
      stage.wait(60_000);
      stage.must('GitLab stays where it is', hostOf(stage) === 'desktop-1');
      stage.status();
      return stage;
    },
  },
  {
    name: 'two of three lose their power',
    about:
      'kang runs GitLab, and both desktops hold copies of it. A fuse takes kang and desktop-2. desktop-1 is left, is no majority, and moves nothing; then the light is on again.',
    play: () => {
      const stage = hosted();
      stage.act('a fuse blows: kang and desktop-2 are off', () => stage.powerOff('kang', 'desktop-2'));
      stage.wait(180_000);
      stage.must('nothing moves', hostOf(stage) === 'kang' && stage.leader === undefined);
      stage.status();
      stage.act('kang and desktop-2 boot', () => stage.powerOn('kang', 'desktop-2'));
      stage.wait(60_000);
      stage.must('GitLab goes on where it was', hostOf(stage) === 'kang');
      stage.status();
      return stage;
    },
  },
];
