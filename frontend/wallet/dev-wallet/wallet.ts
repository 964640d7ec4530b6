// The development wallet's window.
