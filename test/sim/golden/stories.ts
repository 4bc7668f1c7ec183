import { hostingStories } from './hosting-stories.ts';
import { recoveryStories } from './recovery-stories.ts';
import { Stage } from './stage.ts';
import { running, type Story, three } from './story.ts';

const kangOnly = ['inference'];
const desktopOne = ['rtx-3090-ti'];
const desktopTwo = ['rtx-5080'];

export const stories: Story[] = [
  {
    name: 'kang reboots',
    about: 'kang leads and runs a job, another runs on desktop-1. kang is switched off and on again.',
    play: () => {
      const stage = three();
      stage.act('two jobs come', () => {
        running(stage, desktopOne, 90_000);
        running(stage, kangOnly);
      });
      stage.status();
      stage.act('kang goes down: its power is off for 40 s', () => stage.powerOff('kang'));
      stage.wait(2000);
      stage.must('a desktop leads', stage.leader === 'desktop-1' || stage.leader === 'desktop-2');
      stage.status();
      stage.wait(38_000);
      stage.act('kang boots', () => stage.powerOn('kang'));
      stage.wait(60_000);
      stage.must('nobody took the lead again', stage.term === 2);
      stage.status();
      return stage;
    },
  },
  {
    name: "kang's cable is pulled",
    about: 'kang leads and runs a job, another runs on desktop-1. The cable of kang is out for 30 s.',
    play: () => {
      const stage = three();
      stage.act('two jobs come', () => {
        running(stage, desktopOne, 90_000);
        running(stage, kangOnly);
      });
      stage.act('the cable is pulled', () => stage.unplug('kang', 30_000));
      stage.wait(5000);
      stage.must('a desktop leads, kang does not', stage.leader?.startsWith('desktop') === true);
      stage.status();
      stage.wait(25_000);
      stage.act('the cable is in again');
      stage.wait(60_000);
      stage.must('nobody took the lead again', stage.term === 2);
      stage.status();
      return stage;
    },
  },
  {
    name: 'both desktops sleep',
    about: 'In the evening the desktops go to sleep, one after the other, and kang goes on alone until the morning.',
    play: () => {
      const stage = three();
      stage.act('desktop-1 goes to sleep', () => stage.sleepPolitely('desktop-1'));
      stage.wait(10_000);
      stage.status();
      stage.act('desktop-2 goes to sleep', () => stage.sleepPolitely('desktop-2'));
      stage.wait(10_000);
      stage.status();
      stage.act('a job comes at night', () => stage.job([], 20_000));
      stage.wait(60_000);
      stage.must('kang leads on, and did the job', stage.leader === 'kang' && stage.isDone());
      stage.act('desktop-2 wakes', () => stage.wakeUp('desktop-2'));
      stage.wait(5000);
      stage.act('desktop-1 wakes', () => stage.wakeUp('desktop-1'));
      stage.wait(10_000);
      stage.status();
      return stage;
    },
  },
  {
    name: "the leader's agent is killed in the middle of a grant",
    about:
      'kang leads. kill -9 of its agent while its grant is on the way to desktop-1; it is started again after 10 s.',
    play: () => {
      const stage = three();
      stage.act('a job comes; the agent of kang is killed as soon as it has granted it', () => {
        stage.job(desktopOne, 20_000);
        stage.atNote('grant-sent', () => stage.kill('kang'));
      });
      stage.wait(10_000);
      stage.must('a desktop leads', stage.leader?.startsWith('desktop') === true);
      stage.status();
      stage.act('the agent of kang is started again', () => stage.start('kang'));
      stage.wait(30_000);
      stage.must('the job is done', stage.isDone());
      stage.status();
      return stage;
    },
  },
  {
    name: 'a lid is closed',
    about: 'desktop-1 sleeps without a word for 90 s while it runs a job that GitLab may retry.',
    play: () => {
      const stage = three();
      stage.act('a job comes', () => running(stage, ['gpu', 'vram-20g'], 40_000));
      stage.act('the lid of desktop-1 is closed', () => stage.world.suspend(stage.machine('desktop-1').id));
      stage.wait(2000);
      stage.status();
      stage.wait(88_000);
      stage.status();
      stage.act('the lid is opened', () => stage.world.resume(stage.machine('desktop-1').id));
      stage.wait(60_000);
      stage.must('kang leads on, and the job is done', stage.term === 1 && stage.isDone());
      stage.status();
      return stage;
    },
  },
  {
    name: 'an agent is upgraded',
    about:
      'The agent of desktop-1 is ended politely while it runs a job, and comes back 20 s later; then that of kang, which leads, with a job too.',
    play: () => {
      const stage = three();
      for (const [name, tags] of [
        ['desktop-1', desktopOne],
        ['kang', ['node-kang']],
      ] as const) {
        stage.act('a job comes', () => running(stage, [...tags], 40_000));
        stage.act(`the agent of ${name} is ended`, () => stage.restartPolitely(name));
        stage.wait(20_000);
        stage.status();
        stage.act('it is started again', () => stage.start(name));
        stage.wait(70_000);
        stage.must('the job is done, and was never lost', stage.isDone());
        stage.status();
      }
      return stage;
    },
  },
  {
    name: 'the Wi-Fi stalls',
    about:
      'The Wi-Fi of desktop-1 stalls, then that of kang, which leads: each for 800 ms and for 5 s. desktop-1 runs a job.',
    play: () => {
      const stage = three();
      stage.act('a job comes', () => running(stage, desktopOne));
      for (const name of ['desktop-1', 'kang'])
        for (const ms of [800, 5000]) {
          stage.act(`the Wi-Fi of ${name} stalls for ${ms / 1000} s`, () => stage.unplug(name, ms));
          stage.wait(ms);
          stage.act('it goes on');
          stage.wait(20_000);
          stage.must('one leads', stage.leader !== undefined);
          if (name === 'desktop-1') stage.must('kang leads on', stage.term === 1);
        }
      stage.status();
      return stage;
    },
  },
  {
    name: 'one way is cut',
    about: 'For 20 s desktop-1 hears nothing of kang, which leads and still hears desktop-1.',
    play: () => {
      const stage = three();
      stage.act('a job comes', () => running(stage, desktopOne));
      stage.act('desktop-1 hears nothing of kang', () =>
        stage.world.faults.nemesis.cut(stage.machine('kang').id, stage.machine('desktop-1').id, 20_000),
      );
      stage.wait(5000);
      stage.must('kang leads on', stage.leader === 'kang' && stage.term === 1);
      stage.status();
      stage.wait(15_000);
      stage.act('it hears kang again');
      stage.wait(20_000);
      stage.must('kang leads on', stage.leader === 'kang' && stage.term === 1);
      stage.must('the job was not given up', stage.world.gitlab.jobs.size === 1);
      stage.status();
      return stage;
    },
  },
  {
    name: 'the power is cut',
    about: 'All three go off at once, and come back one by one. Two of them ran jobs.',
    play: () => {
      const stage = three();
      stage.act('two jobs come', () => {
        running(stage, desktopOne, 20_000);
        running(stage, desktopTwo, 20_000);
      });
      stage.act('the power is cut', () => stage.powerOff('kang', 'desktop-1', 'desktop-2'));
      stage.wait(60_000);
      stage.act('desktop-2 boots', () => stage.powerOn('desktop-2'));
      stage.wait(10_000);
      stage.must('one of three leads nobody', stage.leader === undefined);
      stage.status();
      stage.act('kang boots', () => stage.powerOn('kang'));
      stage.wait(20_000);
      stage.status();
      stage.act('desktop-1 boots', () => stage.powerOn('desktop-1'));
      stage.wait(60_000);
      stage.must('the jobs are done', stage.isDone());
      stage.status();
      return stage;
    },
  },
  {
    name: 'a disk is lost',
    about: 'desktop-2 comes back with an empty disk and its old identity. It ran a job.',
    play: () => {
      const stage = three();
      stage.act('a job comes', () => running(stage, desktopTwo, 20_000));
      stage.act('desktop-2 goes off, and its disk is lost', () => {
        stage.powerOff('desktop-2');
        stage.world.loseDisk(stage.machine('desktop-2').id);
      });
      stage.wait(10_000);
      stage.status();
      stage.act('desktop-2 boots with another disk, and is let in', () => stage.powerOn('desktop-2'));
      stage.wait(40_000);
      stage.must('kang leads on, and the job is done', stage.term === 1 && stage.isDone());
      stage.status();
      return stage;
    },
  },
  {
    name: "the leader's disk fails",
    about: 'For 30 s kang, which leads, can write nothing. It runs a job.',
    play: () => {
      const stage = three();
      stage.act('a job comes', () => running(stage, kangOnly, 20_000));
      stage.act('the disk of kang fails', () => stage.world.faults.nemesis.failDisk(stage.machine('kang').id, 30_000));
      stage.wait(5000);
      stage.act('somebody changes a setting at kang', () => stage.world.people.changeSomething(stage.agent('kang')));
      stage.wait(10_000);
      stage.must('a desktop leads', stage.leader?.startsWith('desktop') === true);
      stage.status();
      stage.wait(15_000);
      stage.act('it works again');
      stage.wait(30_000);
      stage.status();
      return stage;
    },
  },
  {
    name: 'two machines only',
    about: 'kang breaks ties. desktop-1 dies and comes back; then kang dies and comes back.',
    play: () => {
      const stage = new Stage(['kang', 'desktop-1']);
      stage.status();
      stage.act('desktop-1 goes off', () => stage.powerOff('desktop-1'));
      stage.wait(70_000);
      stage.must('kang leads on alone', stage.leader === 'kang' && stage.term === 1);
      stage.status();
      stage.act('desktop-1 boots', () => stage.powerOn('desktop-1'));
      stage.wait(10_000);
      stage.act('kang goes off', () => stage.powerOff('kang'));
      stage.wait(20_000);
      stage.act('a job comes', () => stage.job([], 10_000));
      stage.wait(50_000);
      stage.must('desktop-1 does not take over', stage.leader === undefined);
      stage.status();
      stage.act('kang boots', () => stage.powerOn('kang'));
      stage.wait(30_000);
      stage.must('the job is done', stage.leader !== undefined && stage.isDone());
      stage.status();
      return stage;
    },
  },
  ...recoveryStories,
  ...hostingStories,
  {
    name: 'a machine is rolled back',
    about:
      'desktop-2 is a virtual machine. It goes back to a snapshot of a minute ago, and has forgotten what it promised since.',
    play: () => {
      const stage = three();
      const snapshot = stage.machine('desktop-2').disk.copy();
      stage.wait(30_000);
      stage.act('somebody changes a setting', () => stage.set('graceMs', 60_000));
      stage.wait(30_000);
      stage.act('desktop-2 goes back to its snapshot', () => {
        stage.powerOff('desktop-2');
        stage.world.rollBack(stage.machine('desktop-2').id, snapshot);
        stage.powerOn('desktop-2');
      });
      stage.wait(30_000);
      stage.must('it votes again', stage.machine('desktop-2').disk.ids.size === 2 && stage.isWell());
      stage.status();
      return stage;
    },
  },
  {
    name: 'GitLab is away while the leader changes',
    about:
      'GitLab answers nobody for two minutes. Meanwhile the agent of kang, which leads, is killed and started again, and a job ends.',
    play: () => {
      const stage = three();
      stage.act('a job comes', () => running(stage, desktopOne, 30_000));
      stage.act('GitLab goes away', () => {
        stage.world.faults.nemesis.moodOfGitlab('away', 120_000);
        stage.job(desktopTwo, 20_000);
      });
      stage.wait(15_000);
      stage.act('the agent of kang is killed', () => stage.kill('kang'));
      stage.wait(15_000);
      stage.status();
      stage.act('the agent of kang is started again', () => stage.start('kang'));
      stage.wait(90_000);
      stage.act('GitLab answers again');
      stage.wait(60_000);
      stage.must('both jobs are done', stage.isDone());
      stage.status();
      return stage;
    },
  },
];
