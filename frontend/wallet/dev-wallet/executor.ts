// The development wallet's executor: runs in the frame that the wallet connector makes.
