"""A real file system that loses power: ext4 on a loop device, with the image as it is at an instant taken for what the disk
held. The kernel decides what of the unsynced is in it (disk.c decides by chance). Needs root and loop devices."""
import os
import random
import shutil
import subprocess
import time

WAIT_S = 10


def sh(*words):
    r = subprocess.run(words, capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError('%s: %s' % (' '.join(words), r.stderr.strip()))
    return r.stdout.strip()


def can():
    return os.geteuid() == 0 and os.path.exists('/dev/loop-control') and shutil.which('mkfs.ext4') and shutil.which('losetup')


class Disk:
    def __init__(self, folder, size='3G'):
        self.image, self.at, self.device = folder + '/disk.image', folder + '/disk', None
        with open(self.image, 'wb') as f:
            f.truncate(int(size[:-1]) << 30)
        sh('mkfs.ext4', '-q', '-F', self.image)
        os.mkdir(self.at)
        self.mount()

    def mount(self):
        self.device = sh('losetup', '--find', '--show', self.image)
        try:
            # No commit of the journal but those that somebody asks for.
            sh('mount', '-o', 'commit=300,noatime', self.device, self.at)
        except RuntimeError:
            self.detach()
            raise

    def detach(self):
        sh('losetup', '--detach', self.device)
        self.device = None

    def unmount(self):
        end = time.monotonic() + WAIT_S
        while True:
            try:
                sh('umount', self.at)
                break
            except RuntimeError:  # who was killed is not gone yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.detach()

    def close(self):
        if self.device:
            self.unmount()

    def written(self):
        """Counts of what reached the device."""
        with open('/sys/block/%s/stat' % os.path.basename(self.device)) as f:
            return f.read().split()[4:7]

    def sync_some(self, r: random.Random):
        """Some files reach the disk without being asked, as after a while all do."""
        for top, _, names in os.walk(self.at):
            for name in names:
                if r.random() < 0.3:
                    try:
                        fd = os.open(os.path.join(top, name), os.O_RDONLY)
                    except OSError:
                        continue
                    try:
                        os.fdatasync(fd)
                    finally:
                        os.close(fd)

    def snapshot(self):
        """What the disk holds now, while nobody writes; a copy under which something was written is taken again."""
        for _ in range(20):
            before = self.written()
            sh('cp', '--sparse=always', self.image, self.image + '.cut')
            if self.written() == before:
                sh('sync', self.image + '.cut')  # else the first sync of the next start waits for all of it
                return
        raise RuntimeError('the disk never rests')

    def go_back(self):
        """To the snapshot; nobody has a file of it open any more."""
        self.unmount()
        os.rename(self.image + '.cut', self.image)
        self.mount()
