import { Stage } from './stage.ts';
import { running, type Story, three } from './story.ts';

function goOnWithoutKang(stage: Stage): void {
  stage.act('on desktop-1: recover --force, and kang was seen switched off', () =>
    stage.recover('desktop-1', ['kang']),
  );
}

/** `recover --force`, and who comes back (SAFETY J1, L15). */
export const recoveryStories: Story[] = [
  {
    name: 'one of two is dead for good',
    about:
      'kang breaks ties and leads. Its power supply burns. Somebody sees that it is off and lets desktop-1 go on by force. Days later, so to speak, kang is mended.',
    play: () => {
      const stage = new Stage(['kang', 'desktop-1']);
      stage.act('kang burns out', () => stage.powerOff('kang'));
      stage.wait(60_000);
      stage.act('a job comes', () => stage.job([], 10_000));
      stage.wait(5_000);
      stage.must('desktop-1 does not take over', stage.leader === undefined);
      stage.status();
      stage.act('on desktop-1: recover --force, and nobody is named', () => stage.recover('desktop-1', []));
      goOnWithoutKang(stage);
      stage.wait(60_000);
      stage.must('desktop-1 leads, and did the job', stage.leader === 'desktop-1' && stage.isDone());
      stage.status();
      stage.act('kang is mended and boots', () => stage.powerOn('kang'));
      stage.wait(60_000);
      stage.must('desktop-1 leads on', stage.leader === 'desktop-1');
      stage.status();
      return stage;
    },
  },
  {
    name: 'kang comes back where nobody hears it',
    about:
      'kang breaks ties. It is off, and desktop-1 went on by force. kang boots with a broken cable to desktop-1: it leads as before, and both speak to the same GitLab.',
    play: () => {
      const stage = new Stage(['kang', 'desktop-1']);
      stage.act('a job comes', () => stage.job([], 3000));
      stage.wait(20_000);
      stage.act('kang burns out', () => stage.powerOff('kang'));
      stage.wait(60_000);
      goOnWithoutKang(stage);
      stage.wait(10_000);
      stage.act('a job comes', () => running(stage, [], 90_000));
      stage.status();
      stage.act('kang boots, and its cable to desktop-1 is broken', () => {
        stage.cutOff('kang', 120_000);
        stage.powerOn('kang');
      });
      stage.wait(70_000);
      stage.status();
      stage.wait(50_000);
      stage.act('the cable is mended');
      stage.wait(120_000);
      stage.must('desktop-1 leads on, and the job is done', stage.leader === 'desktop-1' && stage.isDone());
      stage.status();
      return stage;
    },
  },
  {
    name: 'somebody recovers whom the others do not hear',
    about:
      'desktop-2 is drained and still runs a job. desktop-1 hears nobody, kang is off: somebody lets desktop-1 go on by force. kang boots, and desktop-2 follows it as before.',
    play: () => {
      const stage = three();
      stage.act('a job comes, and desktop-2 is drained', () => {
        running(stage, ['gpu', 'vram-8g'], 120_000);
        stage.drain('desktop-2', true);
      });
      stage.wait(5000);
      stage.status();
      stage.act('desktop-1 hears nobody any more, and kang goes off', () => {
        stage.cutOff('desktop-1', 90_000);
        stage.powerOff('kang');
      });
      stage.wait(10_000);
      goOnWithoutKang(stage);
      stage.act('kang boots', () => stage.powerOn('kang'));
      stage.wait(60_000);
      stage.status();
      stage.wait(20_000);
      stage.act('desktop-1 hears the others again');
      stage.wait(120_000);
      stage.must('desktop-1 leads, and the job is done', stage.leader === 'desktop-1' && stage.isDone());
      stage.status();
      return stage;
    },
  },
];
