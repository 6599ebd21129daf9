"""Files: RecordIO, image folders, CSV, LibSVM, npy and npz."""
